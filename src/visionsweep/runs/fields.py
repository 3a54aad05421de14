"""Types of the fields of records, with the ranges that msgspec checks when it decodes them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

SPLITS = ("train", "val", "test")

MOST_REPLICATES = 1000
MOST_CLASSES = 100_000

Text = Annotated[str, Meta(max_length=1_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=4_096)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Natural = Annotated[int, Meta(ge=1, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Temperature = Annotated[float, Meta(gt=0, le=100)]
NonNegative = Annotated[float, Meta(ge=0)]

if TYPE_CHECKING:
    # JSON has no NaN: a number that diverged is written as null, and read back as NaN.
    Nullable = float
    NullableScore = float
    NullableShare = float
    Split = str
    Leaf = Any
    Tree = dict[str, Any]
else:
    Nullable = float | None
    NullableScore = NonNegative | None
    NullableShare = Share | None
    Split = Literal["train", "val", "test", "cross_fit"]
    Leaf = None | bool | Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | Text
    _Leaves = Leaf | list[Leaf]
    # As deep as a configuration is: data.archives.NAME.
    Tree = dict[Name, _Leaves | dict[Name, _Leaves | dict[Name, _Leaves]]]
