"""What the readers of NumPy's files, of archives and of pickles raise at damaged ones."""

import lzma
import pickle
import struct
import tokenize
import zipfile
import zlib

DAMAGED = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,  # of lengths that a damaged file names
    OSError,  # of places before the file's beginning, which a damaged archive names
    OverflowError,
    RuntimeError,  # an archive that seems encrypted, a method of compression that there is not
    SyntaxError,  # the header of an array is Python
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
