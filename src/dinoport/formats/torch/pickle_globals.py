"""Which names a pickle may mention: plain data and unknown classes as stand-ins, an attacker's tools not at all.

Nothing that a pickle names is ever imported or called, so a refusal here is not what keeps it from running. It is an
alarm: no checkpoint needs these names, and the weights beside them should not be trusted either.
"""

import sys

from dinoport.errors import CheckpointError, UnsafeCheckpointError

FORMER_MODULES = frozenset({
    "__builtin__", "asynchat", "asyncore", "commands", "copy_reg", "cPickle", "distutils", "exceptions", "imp", "nt",
    "nturl2path", "pipes", "popen2", "posix", "smtpd", "telnetlib", "urllib2", "UserDict", "_winreg",
})  # fmt: skip
"""Standard modules of other systems and of versions of Python from 2.7 on, which this one may not know."""

STANDARD_LIBRARY = frozenset(sys.stdlib_module_names) | FORMER_MODULES

PLAIN = {
    "builtins": "bool bytearray bytes complex dict float frozenset getattr int list long object range set slice str "
    "tuple type unicode xrange Ellipsis NotImplemented NoneType",
    "_codecs": "encode",
    "_collections": "OrderedDict deque defaultdict",
    "_io": "BytesIO",
    "abc": "ABCMeta ABC",
    "argparse": "Namespace",
    "array": "array _array_reconstructor",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "collections.abc": "Callable Iterable Mapping MutableMapping Sequence",
    "copyreg": "__newobj__ __newobj_ex__ _reconstructor",
    "dataclasses": "MISSING Field _MISSING_TYPE _FIELD_BASE",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "enum": "Enum EnumMeta EnumType Flag IntEnum IntFlag StrEnum",
    "fractions": "Fraction",
    "functools": "partial",
    "io": "BytesIO StringIO",
    "ipaddress": "IPv4Address IPv6Address",
    "itertools": "chain count cycle repeat",
    "logging": "Logger getLogger",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "random": "Random",
    "re": "_compile",
    "time": "struct_time",
    "types": "MappingProxyType NoneType SimpleNamespace",
    "typing": "Any Callable Dict List Mapping NamedTuple Optional Sequence Set Tuple Type Union",
    "uuid": "SafeUUID UUID",
    "zoneinfo": "ZoneInfo",
    "UserDict": "IterableUserDict UserDict",
}
"""All that a pickle may mention of the standard library: classes that hold data, and what puts them together.
`getattr` names a class within a class, for FSDP's sharded tensors, and keeps a method of an object of a class that is
not known here; any other call of it is refused."""

SAME_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

PLAIN_NAMES = frozenset(f"{module}.{name}" for module, names in PLAIN.items() for name in names.split())

PLAIN_OTHERS = frozenset({"torch.serialization._get_layout"})
"""Of third-party names that begin like one of the GADGETS: torch's sparse tensors mention their layout."""

GADGETS = (
    "torch.hub.", "torch.load", "torch.utils.cpp_extension.", "torch.utils.collect_env.", "torch.utils.bottleneck.",
    "torch.utils.model_zoo.", "torch.utils.data.datapipes.", "torch.jit.", "torch.serialization.", "torch.package.",
    "torch.multiprocessing.", "torch.distributed.rpc.", "torch.distributed.elastic.", "torch._dynamo.",
    "torch._inductor.", "torch._export.", "torch.export.", "torch.fx.", "torch.testing.", "torch.ops.load_library",
    "torch._ops.", "numpy.load", "numpy.loads", "numpy.fromfile", "numpy.memmap", "numpy.f2py.", "numpy.testing.",
    "numpy.distutils.", "numpy.ctypeslib.", "pip.", "setuptools.",
    "pkg_resources.", "dill.", "cloudpickle.", "joblib.", "pandas.eval", "pandas.read_", "pandas.io.",
    "pandas.core.computation.", "IPython.", "requests.", "urllib3.", "httpx.", "aiohttp.", "pexpect.", "ptyprocess.",
    "cffi.", "jinja2.", "transformers.utils.hub.", "transformers.dynamic_module_utils.",
    "huggingface_hub.", "hydra.utils.", "yaml.", "sympy.",
)  # fmt: skip
"""Beginnings of third-party names that load, compile or run something, and that no state dict needs."""


MAX_PROTOCOL = 5

FORMER_NAMES_PROTOCOL = 2
"""Up to this protocol, names of Python 2 stand for those of Python 3."""

DOTTED_NAMES_PROTOCOL = 4
"""From this protocol on, a name from the stack may lead from attribute to attribute."""


def is_torch_function(name: str) -> bool:
    """Whether a call of this name may do anything to a tensor: functions of torch, its modules, tensors and storages.

    Objects of these classes are made without a call, and get their attributes afterwards.
    """
    last = name.rpartition(".")[2]
    called_never = name.startswith("torch.nn.") or last.endswith(("Tensor", "Storage", "Parameter", "Buffer"))
    return name.startswith("torch.") and (called_never or not last.lstrip("_")[:1].isupper())


def is_class(name: str) -> bool:
    """Whether a name of torch can be that of a class: its functions and dtypes are in small letters."""
    return not name.startswith("torch.") or not name.rpartition(".")[2][:1].islower()


def dotted_name(module: str, name: str) -> str:
    """The name as Python 3 has it; protocols up to 2 say `__builtin__` and `copy_reg`."""
    return f"{SAME_MODULES.get(module, module)}.{name}"


def is_forbidden(module: str, name: str) -> bool:
    """Whether a pickle that names this is refused.

    Protocol 4 allows a dotted name, a walk from attribute to attribute, and so from a harmless module to another that
    it imports: a name that passes through a private attribute or a standard module is refused, whatever it begins with.
    """
    full = dotted_name(module, name)
    module = full.removesuffix(f".{name}")
    if full in PLAIN_NAMES or full in PLAIN_OTHERS:
        return False
    if module.split(".", 1)[0] in STANDARD_LIBRARY:
        return True
    walk = name.split(".")
    if len(walk) > 1 and any(part.startswith("__") or part.lstrip("_") in STANDARD_LIBRARY for part in walk):
        return True
    return full.startswith(GADGETS)


GETATTR = "builtins.getattr"
"""LightlyTrain's `last.ckpt` of a task names it, for methods that its DataLoader keeps; so do files that attack."""

WHOLE_OBJECT = "a whole object in the file, such as a DataLoader, or a file that attacks; nothing of it was run here"

SAVE_IT_AGAIN = (
    "if the file is your own: save model.state_dict() with torch.save, and give that file",
    "if it is not: do not open it elsewhere; get the checkpoint from its author",
)

MADE_TO_RUN = "the file was made to run code on the machine that opens it; nothing of it was run here"


def is_method(owner: str, name: str) -> bool:
    """Whether an attribute of this name, of an object of the class `owner`, may be a method that is kept as data.

    An object of Python's own, of torch's or NumPy's may have one that leads further, as a module among them would.
    """
    theirs = owner.partition(".")[0] not in STANDARD_LIBRARY | {"torch", "numpy"}
    return theirs and not name.startswith("_") and name not in STANDARD_LIBRARY


def unsafe(where: str, name: str) -> UnsafeCheckpointError:
    name = name[:200]
    return UnsafeCheckpointError(
        f"{where} names {name}, which no checkpoint needs",
        expected="tensors, numbers, text, and classes that hold data",
        found=f"a pickle that would have {name} called when it is loaded",
        cause=WHOLE_OBJECT if name == GETATTR else MADE_TO_RUN,
        next_step=SAVE_IT_AGAIN if name == GETATTR else "do not open it elsewhere; get the checkpoint from its author",
    )


def torch_function(where: str, name: str) -> CheckpointError:
    return CheckpointError(
        f"{where} calls {name[:200]} while it is loaded",
        expected="tensors, numbers, text and objects of classes",
        found="a function of torch whose effect on the tensors is not known here",
        cause="a file that was made to mislead, or that another program than torch.save wrote",
        next_step="load it where you trust it, and save the state dict alone with torch.save",
    )
