"""README's picture, from two replays: `python -m benchmarks.replay --picture docs/disk.svg`.

Use of the volume at each complete checkpoint. 1 MB of the replay stands for 1 GB of the run that it replays.
"""

from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 66, 24, 50, 56
OTHERS = 0.70  # of the volume: its other files, where the picture begins
STYLE = """text { font: 13px system-ui, sans-serif; fill: #444 } .grid { stroke: #ddd } .full { stroke: #c33 }
  .alone { stroke: #c33; fill: none } .guarded { stroke: #187a3c; fill: none }
  .red { fill: #c33 } .green { fill: #187a3c }
  .title { font-size: 15px; font-weight: 600 }
  @media (prefers-color-scheme: dark) { text { fill: #ccc } .grid { stroke: #444 } .alone, .full { stroke: #ff6b6b }
  .guarded { stroke: #4cc775 } .red { fill: #ff6b6b } .green { fill: #4cc775 } }"""


def picture(alone: dict[str, Any], guarded: dict[str, Any]) -> str:
    """Given the rows of both replays, return the picture as SVG."""
    scale = Scale(guarded["of_steps"], alone["volume_bytes"])
    died = alone["uses"][-1][0] if alone["uses"] else 0
    said = ("save_total_limit=3, and its deletions fail silently:", f"no space left on device after step {died:,}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{" ".join(said)}; with ckptkit {guarded["steps"]:,} of {guarded["of_steps"]:,} steps">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">One volume of 100 GB, a checkpoint every '
        f"{guarded['of_steps'] // 28:,} steps</text>",
        *scale.grid(),
        scale.line(alone["uses"], "alone"),
        scale.line(guarded["uses"], "guarded"),
        *(
            f'<text class="red" x="{scale.x(died) + 14:.0f}" y="{TOP + 26 + 18 * i}">{line}</text>'
            for i, line in enumerate(said)
        ),
        f'<text class="green" x="{scale.x(guarded["steps"]) - 4:.0f}" y="{scale.y(guarded["uses"][-1][1]) + 42:.0f}" '
        f'text-anchor="end">ckptkit.guard(trainer, keep_last=2): {guarded["steps"]:,} of '
        f"{guarded['of_steps']:,} steps</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Scale:
    """Steps and bytes to places on the picture."""

    def __init__(self, steps: int, volume_bytes: int) -> None:
        self.steps, self.volume_bytes = steps, volume_bytes

    def x(self, step: int) -> float:
        """Pixels from the left."""
        return LEFT + step / self.steps * (WIDTH - LEFT - RIGHT)

    def y(self, used_bytes: float) -> float:
        """Pixels from the top."""
        share = (used_bytes / self.volume_bytes - OTHERS) / (1 - OTHERS)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def line(self, uses: list[tuple[int, int]], kind: str) -> str:
        """A staircase: what a save adds stays until the next."""
        before = None
        points: list[str] = []
        for step, used in uses:
            points += [f"{self.x(step):.1f},{self.y(before):.1f}"] if before is not None else []
            points.append(f"{self.x(step):.1f},{self.y(used):.1f}")
            before = used
        return f'<polyline class="{kind}" stroke-width="3" points="{" ".join(points)}"/>'

    def grid(self) -> list[str]:
        """The full volume in red, then in tens of GB down to the other files; the steps below."""
        rows = []
        for share, name in ((0.7, "70 GB"), (0.8, "80 GB"), (0.9, "90 GB"), (1.0, "100 GB")):
            y = self.y(share * self.volume_bytes)
            kind = "full" if share == 1 else "grid"
            rows.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            rows.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
        for seventh in range(8):
            step = self.steps * seventh // 7
            rows.append(f'<text x="{self.x(step):.1f}" y="{HEIGHT - 36}" text-anchor="middle">{step:,}</text>')
        rows.append(f'<text x="{LEFT}" y="{HEIGHT - 10}">steps; 70 GB are other files on the volume</text>')
        return rows
