"""`toolkit sample`: clips for a person to score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import Overwrite, one_of, print_lines
from toolkit.terminal import progress_bars


def sample(
    sources: Annotated[
        list[Path], typer.Argument(help="Cages' folders of logs, log files, or tables of `toolkit label`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the sample.")],
    footage: Annotated[
        Path | None,
        typer.Option(help="Video, or folder of videos or recordings. (default: where the log or table says)"),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, max=9999, help="How many clips, of all sources together.")] = 100,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of a clip.")] = 2.0,
    by: Annotated[
        str, typer.Option(help="behaviour: as many clips of each; time: in proportion to each one's time.")
    ] = "behaviour",
    low_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a behaviour's clips that are its least certain.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same clips.")] = 0,
    since: Annotated[str | None, typer.Option(help="Draw nothing before: 2026-11-26 or 2026-11-26T08:00, UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Draw nothing from then on.")] = None,
    counter: Annotated[
        bool, typer.Option("--counter", help="Also write each clip with its frames' numbers below the picture.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw clips from what was labelled, for a person to score without seeing the label.

    Clips are drawn by behaviour, some least certain first, the others by chance; scoring.csv is to be filled in, and
    `toolkit agreement SAMPLE` reads it back.

    Example: [bold]toolkit sample logs/cage3 --out sample --clips 100 --seconds 2[/]
    """
    from toolkit.sampling import DrawOptions, draw, open_source, write_sample

    options = DrawOptions(
        clips=clips,
        seconds=seconds,
        by=one_of("--by", by, ("behaviour", "time")),
        low_share=low_share,
        seed=seed,
        from_ns=_utc_ns("--since", since),
        to_ns=_utc_ns("--until", until),
    )
    _check_out(out, overwrite=overwrite)
    opened = [open_source(source, footage) for source in sources]
    with progress_bars() as advance:
        drawn = draw(opened, options, lambda done, total: advance("read", done, total, "days"))
        write_sample(
            out,
            drawn,
            counter=counter,
            overwrite=overwrite,
            on_clip=lambda done, total: advance("write", done, total, "clips"),
        )
    for source, seen in zip(drawn.sources, drawn.seen, strict=True):
        mine = sum(clip.source is source for clip in drawn.clips)
        print_lines(
            [
                f"{source.cage}: {seen.observed_s:.1f} s observed, {seen.observed_s - seen.filmed_s:.1f} s of it "
                f"without pictures and skipped, {seen.drawable_s:.1f} s in whole clips; {mine} clips drawn"
            ]
        )
    if len(drawn.clips) < clips:
        print_lines([f"note: {len(drawn.clips)} clips instead of {clips}: there are no more"])
    print_lines([f"written: {out}; {out / 'README.txt'} says how to score, `toolkit agreement {out}` reads it back"])


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse to write into what is not a sample, before an hour of reading."""
    from toolkit.errors import InputError
    from toolkit.files import check_free
    from toolkit.sampling import is_sample

    check_free(out, overwrite=overwrite)
    if out.exists() and not is_sample(out):
        raise InputError(f"{out}: exists and is no sample, so that it is not replaced. Choose another --out.")


def _utc_ns(option: str, text: str | None) -> int | None:
    from datetime import datetime, timezone

    from toolkit.errors import ConfigError

    if text is None:
        return None
    try:
        # Python 3.10 does not know the letter.
        at = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise ConfigError(f"{option}: expected a time such as 2026-11-26T08:00, found {text!r}.") from None
    return round((at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp() * 1_000_000) * 1000
