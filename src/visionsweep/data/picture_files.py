"""Recognize by name and first bytes whether a file is a picture, and whether it can be opened."""

import os

from visionsweep.data.formats import IMAGE_SUFFIXES, format_of
from visionsweep.storage.files import why

_RAW = "a camera raw file; convert it to JPEG or PNG"
_MEDICAL = "a medical image; convert it to PNG or TIFF"
_VECTOR = "a drawing without pixels; convert it to PNG"
_LAYERED = "an image in the format of an editor; export it as PNG"
_OTHER = "an image in a format that is not supported; convert it to PNG or JPEG"

# Pictures that cannot be opened, by suffix.
_PICTURES = {
    suffix: reason
    for reason, suffixes in {
        _RAW: "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 "
        "rwl sr2 srf srw x3f",
        _MEDICAL: "dcm dicom nii nrrd mha",
        _VECTOR: "svg svgz eps ps ai wmf emf cdr",
        _LAYERED: "psd psb xcf kra ora afphoto clip",
        _OTHER: "jxl jxr wdp hdp exr hdr bpg dds pcx jfi jif pjpeg pjp qoi flif avci svs ndpi mrxs "
        "scn vms bif czi lif blp bw cur dcx fit fits flc fli ftc ftu gbr icb icns im msp pcd pxr "
        "ras rgb rgba sgi vda vst xbm xpm",
    }.items()
    for suffix in (f".{name}" for name in suffixes.split())
}  # fmt: skip

# Other files, which are not opened: thousands of annotations may lie beside images.
_OTHER_SUFFIXES = (
    "txt csv tsv json jsonl ndjson xml yaml yml toml ini cfg conf md rst html htm css js log "
    "db sqlite sqlite3 npy npz pkl pickle h5 hdf5 mat parquet feather arrow pt pth onnx "
    "safetensors tfrecord tfrecords record lmdb mdb idx zip gz bz2 xz zst tar tgz 7z rar py "
    "ipynb sh bat ps1 pdf doc docx xls xlsx ppt pptx odt ods mp4 mov avi mkv webm m4v mpg mpeg "
    "mp3 wav m4a aae xmp thm lnk url md5 sha1 sha256 sha512 lock labels names cache"
)
_NO_PICTURES = frozenset(f".{suffix}" for suffix in _OTHER_SUFFIXES.split())

_SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "__pycache__", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
        "recycler", "system volume information", "lost+found",
        ".ipynb_checkpoints", ".thumbnails", ".git", ".svn", ".hg", ".dvc", ".cache", ".idea",
        ".vscode", ".appledouble", ".appledb", ".appledesktop", ".spotlight-v100", ".fseventsd",
        ".temporaryitems", ".documentrevisions-v100", ".snapshot", ".snapshots", ".zfs", ".xvpics",
        ".picasaoriginals", ".@__thumb", ".stfolder", ".stversions", ".sync", ".dropbox.cache",
        ".tmp.drivedownload", ".tmp.driveupload", ".dtrash",
    }
)  # fmt: skip

_SNIFFED = 512  # bytes; the signature of a DICOM file is at 128
_UNSPECIFIC = ("BMP", "ICO", "PPM", "TGA")  # formats whose signatures other files have, too
_SIGNATURES = {b"8BPS": "Photoshop", b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL", b"qoif": "QOI"}


def is_system(name: str) -> bool:
    """Return whether a folder belongs to an operating system, a file server or a program."""
    folded = name.casefold()
    return folded in _SYSTEM_FOLDERS or folded.startswith((".trash", "found.000"))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden."""
    return name.startswith(".")


def picture_problem(path: str, name: str) -> str | None:
    """Return why a regular file cannot be opened as an image, by name or first bytes.

    Returns:
        The reason; an empty string if there is none, and None if the file is not a picture.
    """
    if name.startswith("._"):  # macOS writes `._photo.jpg` beside files on other file systems
        return None
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a string, for speed
    if suffix in IMAGE_SUFFIXES:
        return ""
    if suffix in _PICTURES:
        return _PICTURES[suffix]
    if name.lower().endswith(".nii.gz"):
        return _MEDICAL
    if suffix in _NO_PICTURES or name == "Icon\r":
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            format_ = _format_of(file.read(_SNIFFED))
    except OSError as error:
        return f"cannot be read: {why(error)}"
    if format_ is None:
        return None
    return f"a {format_} file whose name does not end as such; rename it"


def _format_of(head: bytes) -> str | None:
    """Return the image format that the first bytes of a file identify, or None."""
    name = format_of(head)
    is_bmp = name == "BMP" and head[6:10] == bytes(4) and len(head) > 26
    if name is not None and (is_bmp or name not in _UNSPECIFIC):
        return name
    if head[128:132] == b"DICM":
        return "DICOM"
    if b"<svg" in head[:256]:
        return "SVG"
    return next((name for mark, name in _SIGNATURES.items() if head.startswith(mark)), None)
