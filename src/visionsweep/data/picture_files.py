"""Tell by name and first bytes whether a file is a picture, and whether it can be opened."""

import os

from visionsweep.data.formats import image_suffixes
from visionsweep.storage.files import why

_RAW = "a camera raw file; convert it to JPEG or PNG"
_HEIF = "a HEIF image, which needs pillow-heif; install it, or convert the image to JPEG"
_MEDICAL = "a medical image; convert it to PNG or TIFF"
_VECTOR = "a drawing without pixels; convert it to PNG"
_LAYERED = "an image in a format of an editor; export it as PNG"
_OTHER = "an image in a format that is not read; convert it to PNG or JPEG"

# What is a picture by its name but is not opened, unless Pillow or a plugin of it opens it.
_PICTURES = {
    suffix: reason
    for reason, suffixes in {
        _RAW: "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 "
        "rwl sr2 srf srw x3f",
        _HEIF: "heic heics heif heifs hif avci",
        _MEDICAL: "dcm dicom nii nrrd mha",
        _VECTOR: "svg svgz eps ps ai wmf emf cdr",
        _LAYERED: "psd psb xcf kra ora afphoto clip",
        _OTHER: "avif avifs jxl jxr wdp hdp jp2 j2k jpf jpx exr hdr bpg webp tif tiff tga dds pcx "
        "jfif jfi jif jpe pjpeg pjp mpo apng qoi flif svs ndpi mrxs scn vms bif czi lif "
        "blp bw cur dcx dib fit fits flc fli ftc ftu gbr icb icns ico im j2c jpc msp pbm pcd pfm "
        "pgm pnm ppm pxr ras rgb rgba sgi vda vst xbm xpm",
    }.items()
    for suffix in (f".{each}" for each in suffixes.split())
}  # fmt: skip

# What is no picture by its name. It is not opened: thousands of annotations may lie beside images.
_NO_PICTURE_NAMES = (
    "txt csv tsv json jsonl ndjson xml yaml yml toml ini cfg conf md rst html htm css js log "
    "db sqlite sqlite3 npy npz pkl pickle h5 hdf5 mat parquet feather arrow pt pth onnx "
    "safetensors tfrecord tfrecords record lmdb mdb idx zip gz bz2 xz zst tar tgz 7z rar py "
    "ipynb sh bat ps1 pdf doc docx xls xlsx ppt pptx odt ods mp4 mov avi mkv webm m4v mpg mpeg "
    "mp3 wav m4a aae xmp thm lnk url md5 sha1 sha256 sha512 lock labels names cache"
)
_NO_PICTURES = frozenset(f".{suffix}" for suffix in _NO_PICTURE_NAMES.split())

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

_SNIFFED = 512  # bytes: enough for the mark of a DICOM file, which stands at 128


def is_system(name: str) -> bool:
    """Return whether a folder belongs to an operating system, a file server or a program."""
    folded = name.casefold()
    return folded in _SYSTEM_FOLDERS or folded.startswith((".trash", "found.000"))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, those included that macOS puts beside files."""
    return name.startswith(".")


def kind_of(path: str, name: str) -> str | None:
    """Say whether a regular file is an image, by its name and if need be by its first bytes.

    Args:
        path: the file.
        name: the last part of the path.

    Returns:
        An empty string for an image, None for what is no picture, and for a picture that cannot be
        opened the reason.
    """
    if name.startswith("._"):  # macOS puts it beside a file on other file systems: `._photo.jpg`
        return None
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a string, for speed
    if suffix in image_suffixes():
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
    """Return the image format that a file begins as, or None."""
    for mark, format_ in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"8BPS", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"qoif", "QOI"),
    ):
        if head.startswith(mark):
            return format_
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "AVIF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "HEIF"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and len(head) > 26:
        return "BMP"
    if head[128:132] == b"DICM":
        return "DICOM"
    if b"<svg" in head[:256]:
        return "SVG"
    return None
