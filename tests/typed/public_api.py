"""What a typed script may write with the public names. Never run: mypy --strict checks it (tests/test_api.py)."""

from pathlib import Path

import ckptkit

RUN = Path("runs/one")


def rules() -> ckptkit.Rules:
    """Every way to say a rule."""
    ckptkit.Rules(keep_last=2, keep_within="2d", free_target="20G")
    ckptkit.Rules(keep_last=ckptkit.Range(2, 5), keep_best="eval_loss:min=2", keep_every=500, keep_within=60.0)
    return ckptkit.Rules(keep_last="2..5", max_delete=3)._replace(keep_last=None)


def sweep() -> int:
    """Delete, and read what came of it."""
    try:
        done = ckptkit.prune(RUN, keep_last="2..5", free_target="20%", min_age_seconds=60, lock_timeout=1)
        ckptkit.prune(str(RUN), rules(), dry_run=True, yes=False)
    except ckptkit.MassDelete as stopped:
        print(stopped.pruned, stopped.exit_code)
        return stopped.exit_code
    except (ckptkit.UsageError, ckptkit.NoSuchRun, ckptkit.NoIntactCheckpoint, ckptkit.LockHeld) as error:
        raise SystemExit(str(error)) from error
    ckptkit.strip(RUN, 2, dry_run=True)
    pinned: str = ckptkit.pin(RUN / "checkpoint-5000")
    ckptkit.unpin(pinned)
    return done.outcome.freed_bytes if done.outcome else done.plan.expected_freed_bytes


def look() -> list[str]:
    """All that only reads."""
    steps: list[int] = [checkpoint.step for checkpoint in ckptkit.scan(RUN).checkpoints]
    intact: list[bool] = [judged.verdict.intact for judged in ckptkit.verify(RUN, level="full", now=1e9)]
    names: list[str] = [decision.checkpoint.name for decision in ckptkit.plan(RUN, keep_last=2).deletions]
    flags: list[str] = [flag.message for flag in ckptkit.report([RUN, "other"], depth=3).flags]
    checks: list[str] = [check.state for check in ckptkit.preflight(RUN, rules(), settings={"save_steps": 500})]
    checks += [check.message for check in ckptkit.preflight(RUN, script=[RUN / "train.py", "clean.sh"])]
    line: str = ckptkit.recover(RUN, dry_run=True, tell=lambda step, value: print(step, value)).line
    with ckptkit.monitor(RUN, every=60, alerted=lambda alert: print(alert.code)) as watching:
        running: bool = watching.running
    return [
        ckptkit.latest(RUN, weights_only_ok=True).path,
        line,
        *names,
        *flags,
        *checks,
        str((steps, intact, running)),
    ]


def refused() -> None:
    """What the types refuse too; mypy warns of an ignore that is not needed."""
    ckptkit.prune(RUN, quiet=True)  # type: ignore[call-arg]
    ckptkit.prune(RUN, keep_every="500")  # type: ignore[arg-type]
    ckptkit.verify(RUN, level="bogus")  # type: ignore[arg-type]
    ckptkit.report(b"RUN")  # type: ignore[arg-type]
    ckptkit.Range("2", "5")  # type: ignore[arg-type]
    ckptkit.guard(object(), keep_last="2")  # type: ignore[call-overload]
