"""Which names a pickle may mention: plain data and unknown classes as stand-ins, an attacker's tools not at all.

Nothing that a pickle names is ever imported or called, so a refusal here is not what keeps it from running. It is an
alarm: no checkpoint needs these names, and the weights beside them should not be trusted either.
"""

from __future__ import annotations

import sys

PYTHON_2_MODULES = frozenset(
    {"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "popen2", "urllib2", "UserDict"}
)

STANDARD_LIBRARY = frozenset(sys.stdlib_module_names) | PYTHON_2_MODULES | {"nt", "posix", "nturl2path"}

PLAIN_MODULES = frozenset({
    "argparse", "array", "collections", "datetime", "decimal", "enum", "exceptions", "fractions", "ipaddress",
    "numbers", "pathlib", "typing", "uuid", "zoneinfo", "UserDict",
})  # fmt: skip
"""Standard modules whose classes hold data and nothing else."""

PLAIN_NAMES = frozenset({
    "_codecs.encode", "_collections.OrderedDict", "_io.BytesIO", "abc.ABCMeta", "copyreg.__newobj__",
    "copyreg._reconstructor", "copy_reg._reconstructor", "dataclasses.MISSING", "functools.partial", "io.BytesIO",
    "random.Random", "re._compile", "time.struct_time", "torch.serialization._get_layout", "types.MappingProxyType",
    "types.SimpleNamespace",
})  # fmt: skip

PLAIN_BUILTINS = frozenset({
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long", "object",
    "range", "set", "slice", "str", "tuple", "type", "unicode", "xrange", "Ellipsis", "NotImplemented",
})  # fmt: skip
"""`getattr` names a class within a class, for FSDP's sharded tensors; any other call of it is refused."""

GADGETS = (
    "torch.hub.", "torch.load", "torch.utils.cpp_extension.", "torch.utils.collect_env.", "torch.jit.",
    "torch.serialization.", "torch.package.", "torch.multiprocessing.", "torch.distributed.rpc.", "torch._dynamo.",
    "torch._inductor.", "torch.fx.", "torch.storage._load_from_bytes", "numpy.load", "numpy.f2py.", "numpy.testing.",
    "numpy.distutils.", "numpy.ctypeslib.", "pip.", "setuptools.", "pkg_resources.", "dill.", "cloudpickle.",
    "joblib.", "pandas.", "IPython.", "requests.", "pexpect.", "ptyprocess.", "cffi.", "aiohttp.", "pydoc",
    "transformers.utils.hub.", "huggingface_hub.", "jinja2.",
)  # fmt: skip
"""Beginnings of third-party names that load, compile or run something, and that no state dict needs."""


def is_forbidden(module: str, name: str) -> bool:
    """Whether a pickle that names this is refused."""
    full = f"{module}.{name}"
    if full in PLAIN_NAMES:
        return False
    top = module.split(".", 1)[0]
    if top in ("builtins", "__builtin__"):
        return name not in PLAIN_BUILTINS
    if top in STANDARD_LIBRARY:
        return top not in PLAIN_MODULES
    return full.startswith(GADGETS)
