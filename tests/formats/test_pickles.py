"""The inert machine: all that the libraries write passes, all that runs code is named, and nothing ever runs."""

import io
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptkit.formats.inert import OPAQUE
from ckptkit.formats.pickles import LARGEST_BYTES, Scan, scan, scan_stream

REFUSED = {"unsafe-pickle", "unknown-global"}


def codes(raw: bytes) -> set[str]:
    return {code for code, _ in scan(raw).faults}


def data_pkl(file: io.BytesIO | Path) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def saved(value: object) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return data_pkl(file)


# -- what is written for real ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lora", "full", "sharded", "only", "bf16"])
def test_every_file_of_a_real_checkpoint_passes(real: str, kind: str) -> None:
    files = [f for f in Path(real, kind, "checkpoint-100").iterdir() if f.suffix in (".pt", ".pth", ".bin")]
    assert files and {f.name: scan(data_pkl(f)).faults for f in files} == {f.name: [] for f in files}


def values() -> Iterator[object]:
    """A value of each kind that training leaves in a file."""
    import collections
    import datetime
    import random

    import numpy
    import torch

    yield {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}
    yield {"python": random.getstate(), "numpy": numpy.random.get_state(), "cpu": torch.get_rng_state()}
    yield {"cuda": [torch.get_rng_state()] * 2}
    yield collections.OrderedDict(a=torch.ones(2), b=torch.nn.Parameter(torch.ones(2)))
    yield torch.nn.Linear(2, 2).state_dict()
    yield [torch.ones(2).to(t) for t in (torch.bfloat16, torch.half, torch.bool, torch.complex64, torch.float8_e4m3fn)]
    yield [torch.ones(2).to_sparse(), torch.eye(2).to_sparse_csr(), torch.ones(2, device="meta"), torch.Size([1])]
    yield [torch.float32, torch.device("cpu"), torch.strided, torch.per_tensor_affine]
    yield [{1}, frozenset([1]), b"\xff", bytearray(b"x"), 1j, 2**200, None, True, 1.5, "ü", (), [()]]
    yield [
        numpy.float64(1),
        numpy.int64(2),
        numpy.ones(2, "f4"),
        numpy.random.default_rng().bit_generator.state,
    ]
    yield [collections.defaultdict(int), collections.Counter("ab"), collections.deque([1])]
    yield [datetime.datetime.now(), datetime.timedelta(1), Path("/a/b")]
    yield {(1, 2): 3, torch.float32: 4, 2**70: 5}


@pytest.mark.parametrize("protocol", range(6))
def test_every_kind_of_value_passes_in_every_protocol(protocol: int) -> None:
    from collections import OrderedDict, defaultdict
    from random import getstate

    plain = [
        getstate(),
        OrderedDict(a=1),
        defaultdict(list),
        {1, 2},
        "ü\n'",
        b"\0\xff",
        -5,
        2**300,
        [[]] * 3,
        0.1,
        True,
    ]
    assert scan(pickle.dumps(plain, protocol)).faults == []


def test_every_kind_of_value_that_torch_saves_passes() -> None:
    for number, value in enumerate(values()):
        assert scan(saved(value)).faults == [], number


def test_every_optimizer_and_scheduler_of_torch_passes() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.ones(3, 2))
    parameter.grad = torch.ones(3, 2)
    for make in (torch.optim.AdamW, torch.optim.Adafactor, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.NAdam):
        optimizer = make([parameter])
        optimizer.step()
        assert scan(saved(optimizer.state_dict())).faults == []
    schedulers = torch.optim.lr_scheduler
    for scheduler in (
        schedulers.LambdaLR(optimizer, lambda step: 1.0), schedulers.CosineAnnealingLR(optimizer, 9),
        schedulers.MultiStepLR(optimizer, [1]), schedulers.ReduceLROnPlateau(optimizer),
        schedulers.SequentialLR(optimizer, [schedulers.LinearLR(optimizer), schedulers.LinearLR(optimizer)], [2]),
    ):  # fmt: skip
        assert scan(saved(scheduler.state_dict())).faults == []


def test_training_arguments_pass_and_a_users_own_subclass_is_unknown(tmp_path: Path) -> None:
    from transformers import Seq2SeqTrainingArguments, TrainingArguments

    common = {"use_cpu": True, "report_to": "none", "lr_scheduler_type": "cosine", "optim": "adafactor"}
    assert scan(saved(Seq2SeqTrainingArguments(str(tmp_path), **common))).faults == []
    mine = type("Mine", (TrainingArguments,), {"__module__": "__main__"})
    sys.modules["__main__"].Mine = mine  # type: ignore[attr-defined]
    try:
        assert scan(saved(mine(str(tmp_path), **common))).faults == [("unknown-global", "names '__main__.Mine'")]
    finally:
        del sys.modules["__main__"].Mine


def test_inert_value_is_the_plain_part_of_the_real_one() -> None:
    value = {"a": [1, -2, 3.5, None, True, (), ("x", 10**30)], 5: {"nested": {}}, "b": b"bytes"}
    for protocol in range(6):
        found = scan(pickle.dumps(value, protocol)).value
        assert {k: v for k, v in found.items() if k != "b"} == {k: v for k, v in value.items() if k != "b"}


def test_names_are_told_once_and_sorted() -> None:
    import torch

    assert scan(saved([torch.ones(1), torch.ones(2)])).globals == (
        *("collections.OrderedDict", "torch.FloatStorage", "torch._utils._rebuild_tensor_v2"),
    )


# -- what runs code --------------------------------------------------------------------------------------------------


def glob(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


SYSTEM, COMMAND = glob("os.system"), b"Vtouch executed\n\x85"
PROTO4, CALL = b"\x80\x04", b"\x93" + COMMAND + b"R."
ENUM = glob("transformers.trainer_utils.IntervalStrategy")
ARGUMENTS = glob("transformers.training_args.TrainingArguments")
REBUILD = glob("torch._tensor._rebuild_from_type_v2")

# Names that deny-lists of scanners lacked, from their published advisories, and those that none lacks.
NAMES = """
    os.system posix.system nt.system subprocess.Popen builtins.eval builtins.exec builtins.getattr.__call__
    sys.modules __builtin__.eval commands.getoutput importlib.import_module runpy.run_path pty.spawn
    socket.create_connection shutil.rmtree ctypes.CDLL pickle.loads _pickle.loads torch.load torch.hub.load
    torch.storage._load_from_bytes functools.partial operator.attrgetter _operator.methodcaller io.open _io.FileIO
    webbrowser.open http.client.HTTPConnection urllib.request.urlopen requests.get aiohttp.ClientSession pip.main
    ensurepip._run_pip timeit.timeit cProfile.runctx trace.Trace.run profile.Profile.run doctest.debug_script
    code.InteractiveInterpreter.runcode bdb.Bdb.run pydoc.pipepager
    asyncio.unix_events._UnixSubprocessTransport._start idlelib.pyshell.ModifiedInterpreter.runcommand
    linecache.getlines lib2to3.pgen2.grammar.Grammar.loads distutils.file_util.write_file logging.config.listen
    uuid._get_command_stdout _aix_support._read_cmd_output imaplib.IMAP4_stream
    test.support.script_helper.assert_python_ok pathlib.Path.touch numpy.f2py.crackfortran.getlincoef
    numpy.testing._private.utils.runstring numpy.load _posixsubprocess.fork_exec
    torch.utils._config_module.ConfigModule.load_config torch.utils.bottleneck.__main__.run_cprofile
    torch.utils.collect_env.run torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression
    torch.jit.unsupported_tensor_ops.execWrapper torch._dynamo.guards.GuardBuilder.get types.FunctionType
    multiprocessing.util.spawnv_passfds sqlite3.connect codecs.decode copyreg.add_extension site.main
    ssl.get_server_certificate transformers.AutoModel.from_pretrained joblib.load dill.loads cloudpickle.loads
    pandas.eval sympy.sympify a.b
""".split()  # noqa: SIM905

BYPASSES = {
    **{f"global {name}": b"\x80\x02" + glob(name) + COMMAND + b"R." for name in NAMES},
    "stack global": PROTO4 + text("os") + text("system") + CALL,
    "memoised names": PROTO4 + b"(" + text("system") + b"q\x05" + text("os") + b"q\x06t0h\x06h\x05" + CALL,
    "names from MEMOIZE": PROTO4 + text("system") + b"\x940" + text("os") + b"\x940h\x01h\x00" + CALL,
    "remembered number used twice": b"Vcollections\nq\x000Vos\nq\x000h\x00Vsystem\n" + CALL,
    "names in escaped strings": b"S'o\\x73'\nS'sys\\x74em'\n" + CALL,
    "names in unicode escapes": b"V\\u006fs\nVsyste\\u006d\n" + CALL,
    "names as Python 2 strings": b"U\x02osU\x06system" + CALL,
    "names hidden behind a popped mark": b"Vos\nVsystem\n(NN1" + CALL,
    "name that is no literal": PROTO4 + text("os") + glob("collections.Counter") + text("system") + b"\x85R\x93.",
    "dotted name": PROTO4 + text("torch") + text("os.system") + CALL,
    "dotted name through another module": PROTO4 + text("random") + text("_os.system") + CALL,
    "dotted name through an allowed class": PROTO4 + text("collections") + text("OrderedDict.__init__") + b"\x93.",
    "dotted name through an allowed module": PROTO4 + text("torch._utils") + text("sys.modules") + b"\x93.",
    "named and never called": SYSTEM + b"0N.",
    "in a list": b"]" + SYSTEM + b"a.",
    "broken opcode after it": SYSTEM + COMMAND + b"R\xff.",
    "no end after it": SYSTEM + COMMAND + b"R",
    "stack underflow after it": SYSTEM + COMMAND + b"R00000.",
    "claimed length after it": SYSTEM + COMMAND + b"R\x8d" + b"\xff" * 8,
    "inst": b"(Vtouch executed\nios\nsystem\n.",
    "obj": b"(" + SYSTEM + b"Vtouch executed\no.",
    "newobj": SYSTEM + COMMAND + b"\x81.",
    "newobj with keywords": b"\x80\x04" + SYSTEM + COMMAND + b"}\x92.",
    "extension code of one byte": b"\x82\x01" + COMMAND + b"R.",
    "extension code of two bytes": b"\x83\x01\x01" + COMMAND + b"R.",
    "extension code of four bytes": b"\x84\x01\x01\x01\x01" + COMMAND + b"R.",
    "function handed to a tensor": REBUILD + b"(" + SYSTEM + glob("torch.Tensor") + COMMAND + b"NtR.",
    "allowed class handed to a tensor": REBUILD + b"(" + ARGUMENTS + glob("torch.Tensor") + b"V/tmp\n\x85NtR.",
    "arguments' class called": ARGUMENTS + b"V/tmp\n\x85R.",
    "arguments' class called by a dict": glob("collections.defaultdict") + ARGUMENTS + b"\x85R.",
    "arguments' class called by a reconstructor": glob("copyreg._reconstructor") + b"(" + ARGUMENTS * 2 + b"NtR.",
    "getattr of an allowed class": glob("builtins.getattr") + glob("torch.Tensor") + b"V__init__\n\x86R.",
    "getattr of what is no member": glob("builtins.getattr") + ENUM + b"V__class__\n\x86R.",
    "getattr in Python 2's name": b"c__builtin__\ngetattr\n" + ENUM + b"Vmro\n\x86R.",
    "getattr handed on": REBUILD + b"(" + glob("builtins.getattr") + ENUM + b"V__class__\n\x86NNtR.",
    "getattr handed on from the memo": glob("builtins.getattr") + b"q\x00" + ENUM + b"VNO\n\x86R]h\x00a.",
    "any codec": glob("_codecs.encode") + b"Vx\nVrot13\n\x86R.",
    "result called": glob("collections.Counter") + b")R)R.",
    "text called": b"Vos.system\n)R.",
    "attribute set on a class": glob("torch.Size") + b"}V__new__\nNsb.",
    "attribute set on a class from the memo": glob("torch.Size") + b"q\x000h\x00}V__new__\nNsb.",
    "persistent class changed": b"Pmodule\n}b.",
}  # fmt: skip


@pytest.mark.parametrize("name", BYPASSES)
def test_bypass_is_refused(name: str) -> None:
    assert codes(BYPASSES[name]) & REFUSED


def test_danger_is_told_by_its_name() -> None:
    assert scan(BYPASSES["stack global"]).faults == [("unsafe-pickle", "names 'os.system'")]
    assert scan(BYPASSES["dotted name"]).faults == [("unsafe-pickle", "names 'torch.os.system'")]
    walked = scan(BYPASSES["dotted name through another module"])
    assert walked.faults == [("unsafe-pickle", "names 'random._os.system'")]
    assert scan(BYPASSES["global __builtin__.eval"]).faults == [("unsafe-pickle", "names 'builtins.eval'")]
    assert scan(BYPASSES["global pandas.eval"]).faults == [("unknown-global", "names 'pandas.eval'")]


TRUSTED = {  # (module, name, pattern): whether the pattern lets it pass
    ("my_package.optim", "State", "my_package.*"): True,
    ("my_package", "os.system", "my_package.*"): False,
    ("my_package", "optim._os.system", "my_package.optim.*"): False,
    ("my_package", "os.system", "my_package.os.*"): True,
    ("my_package", "os.system", "my_package.os.system"): True,
    ("torch.hub", "load", "torch.*"): False,
    ("torch.hub", "load", "torch.hub.*"): True,
}


@pytest.mark.parametrize("named", TRUSTED, ids=lambda named: f"{named[2]} {named[0]}.{named[1]}")
def test_trust_in_a_package_reaches_through_it_to_what_acts_only_where_that_is_spelled_out(
    named: tuple[str, str, str],
) -> None:
    module, name, pattern = named
    raw = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93."
    assert scan(raw).faults
    assert (scan(raw, (pattern,)).faults == []) is TRUSTED[named]


def test_nothing_runs_though_the_payload_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for raw in BYPASSES.values():
        scan(raw)
    assert not (tmp_path / "executed").exists()
    load = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    for name in ("stack global", "memoised names", "inst", "broken opcode after it", "names in escaped strings"):
        subprocess.run([sys.executable, "-c", load], input=BYPASSES[name], check=False, capture_output=True)
        assert (tmp_path / "executed").exists(), f"{name} is no payload, so this test proves nothing"
        (tmp_path / "executed").unlink()


def test_no_module_is_imported(tmp_path: Path) -> None:
    names = b"".join(glob(name) + b"0" for name in ("antigravity.x", "torch.Size", "xmlrpc.server.x", "turtle.x"))
    script = "import sys; from ckptkit.formats.pickles import scan; scan(sys.stdin.buffer.read()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], input=names + b"N.", check=True, capture_output=True)
    assert not {b"antigravity", b"torch", b"xmlrpc", b"turtle", b"pickle", b"pickletools"} & {*done.stdout.split()}


# -- what is broken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_real_pickle_cut_anywhere_is_truncated(real: str, name: str) -> None:
    raw = data_pkl(Path(real, "lora/checkpoint-100", name))
    for end in range(len(raw)) if len(raw) < 6000 else (*range(0, len(raw), 7), len(raw) - 1):
        assert "truncated" in codes(raw[:end]), end


def test_bytes_after_the_end_are_told_beside_the_rest() -> None:
    assert scan(b"N." + SYSTEM + b".").faults == [("bad-pickle", "12 bytes after its end")]
    assert codes(SYSTEM + b".N.") == {"unsafe-pickle", "bad-pickle"}


def test_flipped_bits_never_raise(real: str) -> None:
    raw = data_pkl(Path(real, "lora/checkpoint-100/training_args.bin"))
    for bit in range(0, 8 * len(raw), 5):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(scan(bytes(changed)), Scan)


MALFORMED = {
    "nothing": (b"", "truncated"),
    "protocol 9": (b"\x80\x09N.", "bad-pickle"),
    "no opcode": (b"\xff.", "bad-pickle"),
    "out-of-band buffer": (b"\x97.", "bad-pickle"),
    "underflow": (b"0N.", "bad-pickle"),
    "underflow through a mark": (b"N(Ka.", "bad-pickle"),
    "no mark": (b"t.", "bad-pickle"),
    "unknown memo": (b"h\x05.", "bad-pickle"),
    "left over": (b"NN.", "bad-pickle"),
    "no number": (b"Ixyz\n.", "bad-pickle"),
    "no UTF-8": (b"X\x01\0\0\0\xff.", "bad-pickle"),
    "no quotes": (b"Sabc\n.", "bad-pickle"),
    "2^63 bytes of text": (b"\x8d" + struct.pack("<Q", 1 << 63) + b"x.", "truncated"),
    "2^63 bytes of bytearray": (b"\x96" + struct.pack("<Q", (1 << 63) - 1) + b"x.", "truncated"),
    "2^31 bytes of number": (b"\x8b" + struct.pack("<i", -1) + b"x.", "truncated"),
    "frame beyond the end": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.", "truncated"),
    "memo key 2^31": (b"Nr" + struct.pack("<I", 1 << 31) + b".", "too-large"),
    "a million digits": (b"L" + b"9" * 1_000_000 + b"L\n.", "bad-pickle"),
    "as many digits as a line may have": (b"L" + b"9" * 60_000 + b"L\n.", "bad-pickle"),
    "more globals than any file": (b"".join(b"cmodule%d\nx\n0" % n for n in range(5000)) + b"N.", "bad-pickle"),
    "a name of a million bytes": (b"c" + b"a" * 1_000_000 + b"\nb\n.", "bad-pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_told(name: str) -> None:
    raw, code = MALFORMED[name]
    assert code in codes(raw)


def test_stream_of_pickles_is_judged_one_by_one() -> None:
    raw = b"xx" + pickle.dumps(1) + SYSTEM + b"." + pickle.dumps([2]) + b"rest"
    scans, end = scan_stream(raw, 3, start=2)
    assert [s.value for s in (scans[0], scans[2])] == [1, [2]] and raw[end:] == b"rest"
    assert [[code for code, _ in s.faults] for s in scans] == [[], ["unsafe-pickle"], []]
    assert len(scan_stream(raw, 4, start=2)[0]) == 4 and scan_stream(raw, 4, start=2)[0][3].faults


# -- what costs ------------------------------------------------------------------------------------------------------

MEGABYTE = 1 << 20
MODULUS = (1 << 61) - 1  # of Python's hash of a number
COSTLY = {
    "marks": b"(" * MEGABYTE,
    "lists": b"]" * MEGABYTE,
    "dicts": b"}" * MEGABYTE,
    "one tuple in another": b")" + b"\x85" * MEGABYTE + b".",
    "a billion laughs": b")" + b"2\x86" * (MEGABYTE // 2) + b".",
    "a billion laughs as a key": b"}" + b")" + b"2\x86" * (MEGABYTE // 2) + b"Ns.",
    "keys that collide": b"}"
    + b"".join(b"\x8a\x0a" + (n * MODULUS).to_bytes(10, "little") + b"Ns" for n in range(75_000)),
    "sparse memo": b"N" + b"".join(b"r" + struct.pack("<I", n * 999) for n in range(200_000)),
    "distinct texts": b"".join(b"\x8c\x06%06d0" % n for n in range(110_000)) + b"N.",
    "calls": glob("collections.Counter") + b"q\x00(" + b"h\x00)R" * 250_000 + b"t.",
    "floats of many digits": (b"F" + b"9" * 60_000 + b"\n0") * 16 + b"N.",
}


@pytest.mark.parametrize("name", COSTLY)
def test_hostile_megabyte_takes_no_time_and_little_memory(name: str) -> None:
    """In a child, whose peak is its own: all of it, the interpreter included."""
    script = "import sys, time; from ckptkit.formats.pickles import scan; raw = sys.stdin.buffer.read()"
    script += "; t = time.process_time(); scan(raw); print(time.process_time() - t)"
    script += "; print(*(int(line.split()[1]) >> 10 for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", script], input=COSTLY[name], check=True, capture_output=True)
    seconds, megabytes = done.stdout.split()
    assert float(seconds) < 5 and int(megabytes) < 140, done.stdout


def test_too_large_a_pickle_is_not_looked_at() -> None:
    started = time.process_time()
    assert codes(bytes(LARGEST_BYTES + 1)) == {"too-large"} and time.process_time() - started < 1


def test_danger_past_the_room_for_values_is_still_seen() -> None:
    filler = b"(" + b"}K\x01K\x02s" * 400_000 + b"t0"
    assert "unsafe-pickle" in codes(filler + SYSTEM + COMMAND + b"R.")
    names = b"\x80\x04" + text("posix") + text("system") + b"\x93" + COMMAND + b"R."
    assert codes(filler + names) & {"unsafe-pickle", "too-large"}


def test_value_too_large_to_keep_is_opaque_and_no_fault() -> None:
    found = scan(pickle.dumps([{n: [n]} for n in range(200_000)], 2))
    assert found.value is OPAQUE and found.faults == []
