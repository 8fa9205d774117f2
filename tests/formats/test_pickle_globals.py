"""Which names are an alarm: all that genuine checkpoints name are none, and all that attackers are known to use are."""

import pytest

from dinoport.formats.torch.pickle_globals import FORMER_MODULES, STANDARD_LIBRARY, is_forbidden

GENUINE = """
argparse Namespace
collections OrderedDict
collections Counter
collections defaultdict
_codecs encode
__builtin__ set
__builtin__ getattr
builtins slice
copy_reg _reconstructor
copyreg _reconstructor
datetime datetime
functools partial
io BytesIO
logging getLogger
pathlib PosixPath
pathlib._local PosixPath
typing Any
uuid UUID
numpy dtype
numpy ndarray
numpy.core.multiarray _reconstruct
numpy.core.multiarray scalar
numpy._core.multiarray scalar
numpy.random._pickle __randomstate_ctor
torch FloatStorage
torch BFloat16Storage
torch Size
torch device
torch float32
torch._utils _rebuild_tensor_v2
torch._utils _rebuild_parameter
torch._utils _rebuild_sparse_tensor
torch._tensor _rebuild_from_type_v2
torch.serialization _get_layout
torch.storage UntypedStorage
torch.storage _load_from_bytes
torch.nn.modules.linear Linear
torch.nn.parameter Parameter
torch.optim.adamw AdamW
torch.cuda.amp.grad_scaler GradScaler
torch.distributed._shard.sharded_tensor.api ShardedTensor
torch.distributed._shard.sharded_tensor.metadata TensorProperties.MEM_FORMAT_ENCODING
torch.distributed.checkpoint.metadata Metadata
torch.distributed.tensor DTensor
vision_transformer VisionTransformer
dinov2.models.vision_transformer DinoVisionTransformer
omegaconf.dictconfig DictConfig
pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint
timm.models.vision_transformer VisionTransformer
utils MultiCropWrapper
__main__ Config
my_package.os Settings
pandas.core.frame DataFrame
"""

HOSTILE = """
os system
os popen
os.path os.system
posix system
nt system
subprocess Popen
subprocess check_output
commands getoutput
builtins exec
builtins eval
builtins compile
builtins open
builtins __import__
__builtin__ eval
__builtin__ execfile
__builtin__ apply
sys modules
sys settrace
importlib import_module
runpy run_path
runpy _run_code
code InteractiveInterpreter
codeop compile_command
pty spawn
pdb run
bdb Bdb.run
profile run
cProfile run
timeit timeit
trace Trace.run
doctest debug_script
pydoc pipepager
idlelib.pyshell ModifiedInterpreter.runcode
lib2to3.pgen2.grammar Grammar.loads
distutils.file_util write_file
imp load_source
asyncio.unix_events _UnixSubprocessTransport._start
socket create_connection
socketserver TCPServer
http.server HTTPServer
urllib.request urlopen
urllib2 urlopen
smtplib SMTP
ftplib FTP
webbrowser open
shutil rmtree
shutil copyfile
pathlib Path.write_text
pathlib PosixPath.unlink
io open
io FileIO
_io FileIO
tempfile mkstemp
zipfile ZipFile.extractall
ctypes CDLL
marshal loads
pickle loads
_pickle loads
cPickle loads
shelve open
dbm open
operator attrgetter
operator methodcaller
_operator attrgetter
functools reduce
types CodeType
types FunctionType
typing get_type_hints
typing ForwardRef._evaluate
collections namedtuple
enum _simple_enum
copyreg add_extension
threading Thread
multiprocessing Process
signal signal
ssl _create_unverified_context
inspect getsource
logging.config fileConfig
argparse FileType
argparse _os.system
decimal _sys.modules
torch load
torch.hub load
torch.hub load_state_dict_from_url
torch.jit.unsupported_tensor_ops execWrapper
torch.utils.cpp_extension load_inline
torch.utils.bottleneck.__main__ run_cprofile
torch.utils.collect_env run
torch.utils.data.datapipes.utils.decoder basichandlers
torch._dynamo.guards GuardBuilder.get
torch._inductor.codecache compile_file
torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
torch.fx.graph_module reduce_graph_module
torch.serialization load
torch.serialization os.system
torch.multiprocessing spawn
torch.distributed.rpc rpc_sync
torch os.system
torch _os.system
torch.nn.functional sys.modules
numpy load
numpy os.system
numpy.testing._private.utils runstring
numpy.f2py.crackfortran myeval
numpy.distutils.exec_command exec_command
pip main
pip._internal main
setuptools.sandbox run_setup
pkg_resources run_script
dill loads
cloudpickle loads
joblib load
pandas read_pickle
pandas eval
pandas.io.pickle read_pickle
IPython.core.interactiveshell InteractiveShell
requests get
aiohttp.client ClientSession
jinja2.environment Template
yaml unsafe_load
sympy sympify
huggingface_hub hf_hub_download
transformers.dynamic_module_utils get_class_from_dynamic_module
hydra.utils instantiate
my_package Class.__init__.__globals__
my_package Class.__subclasses__
"""


def pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(line.split(" ")) for line in text.strip().splitlines()]  # type: ignore[misc]  # two words a line


@pytest.mark.parametrize(("module", "name"), pairs(GENUINE))
def test_what_genuine_checkpoints_name_is_no_alarm(module, name):
    assert not is_forbidden(module, name)


@pytest.mark.parametrize(("module", "name"), pairs(HOSTILE))
def test_what_attackers_name_is(module, name):
    assert is_forbidden(module, name)


def test_no_function_of_the_standard_library_passes_by_default():
    assert len(STANDARD_LIBRARY) > 200
    for module in STANDARD_LIBRARY:
        assert is_forbidden(module, "anything"), module
        assert is_forbidden(f"{module}.part", "Class.anything"), module


def test_modules_of_other_versions_of_python_are_known():
    """`sys.stdlib_module_names` loses what a new version drops; a file may be opened elsewhere."""
    assert {"distutils", "imp", "asyncore", "pipes", "commands", "nt", "posix"} <= FORMER_MODULES
