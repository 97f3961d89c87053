#!/bin/sh
# The whole chain on a synthetic home cage, without a GPU: every step is one of the product's own commands.
set -eu

demo=${DEMO:-demo}
started=$(date +%s)
say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

if [ -e "$demo" ] && [ ! -e "$demo/.toolkit-demo" ]; then
    echo "error: $demo exists and is not an earlier demo. Choose another folder: make demo DEMO=FOLDER" >&2
    exit 1
fi
rm -rf "$demo"
mkdir -p "$demo"
touch "$demo/.toolkit-demo"

say "What this machine has"
run toolkit doctor
# Where no C++ compiler was there at installation, flow is OpenCV's and ten times slower: then with cheaper parameters.
if toolkit doctor | grep -q 'flow: .*cpu'; then set --; else set -- --flow-parameters fast; fi

say "Annotated video: a synthetic home cage (yours would come from a camera and an observer)"
run toolkit synth "$demo/data" --videos 4 --duration 36 --held-out 1 --strain black --seed 7

say "How well would it do on a video that it has not seen? Leave one video out, train on the others, in turn"
run toolkit crossval "$demo/data" --config docs/demo.toml --out "$demo/crossval" "$@"

say "The networks for the cage: both streams, trained on all four videos"
run toolkit train "$demo/data" --config docs/demo.toml --out "$demo/run" "$@"

say "One folder that holds all a cage needs"
run toolkit export "$demo/run" --crossval "$demo/crossval" --out "$demo/bundle"

say "This machine's engines, verified on the bundle's golden sample"
run toolkit build-engine "$demo/bundle"

say "A cage: the fifth video, in no fold and in no training set, played as if it were a camera"
run toolkit cage init "$demo/cage1.toml" --name cage1 --bundle "$demo/bundle" --log-dir "$demo/logs" \
    --video "$demo/data/held_out/held_out01.mp4"
# A laptop may see bursts only (docs/overload.md): for the demo that is no fault.
run sed -i 's/^# min_coverage = .*/min_coverage = 0.0/' "$demo/cage1.toml"
run toolkit cage check "$demo/cage1.toml"
run toolkit cage run "$demo/cage1.toml"

say "What the lab sees"
run toolkit report "$demo/logs/cage1" --out "$demo/report" --truth "$demo/data/held_out" --bundle "$demo/bundle"

printf '\nThe demo took %d s.\n' $(($(date +%s) - started))
