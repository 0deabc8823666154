"""The public data sets, as one literal table: what each is called, how it lies on disk, where it comes from.

Layouts, names and counts are those of the sets' own pages and of the loaders that made them common: AirNet,
PromptIR, AdaIR, MoCE-IR (noise, rain, haze, blur, low light), Restormer (GoPro crops), OneRestore (CDD-11),
TransWeather (AllWeather), WeatherDiffusion (Snow100K, Outdoor-Rain, RainDrop), FocalNet (CSD) and AMIR
(medical).
What could not be verified stands in a set's `doubts`; nothing is guessed in silence.

A place is written as a path under the set's folder, with four signs: ``a|b`` is whichever is there, the
canonical one first; ``a&b`` is all of them; ``*`` is every folder that fits; ``{subset}`` stands for the
names of a subset. Letters' case, spaces, dots, hyphens and underscores do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CATALOG", "Access", "DataSet", "Place", "Reference", "Split"]

Access = Literal["url", "login", "drive", "request"]

_IN = "input|in|lq|degraded|data"
_GT = "target|gt|hq|clean|clear"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One way in which a split lies on disk.

    Attributes:
        folders: Names of the set's folder under the root, the canonical one first.
        target: The folder of clean pictures in it; "." is the folder itself.
        degraded: The folder of degraded ones; None for sets of clean pictures.
        shared: Whether other sets lie in the same folder, so that only known names count.
    """

    folders: tuple[str, ...]
    target: str = "."
    degraded: str | None = None
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The mean PSNR in dB of a split's inputs: RGB, centre crops whose sides are multiples of 16.

    `sigma` is the standard deviation (0-255) of the noise that makes the input, for sets of clean pictures;
    None for pairs.
    """

    psnr: float
    sigma: int | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """A part of a set that is used as a whole.

    Attributes:
        count: Degraded pictures, or clean ones in sets of clean pictures; of all subsets together.
            0 where the source gives no number.
        places: Where it can lie, the canonical place first.
        names: Every scene's name without affixes and extension, where names are known; else empty.
        each: Pairs of every subset, where all have the same number; else 0.
        sides: The shorter and the longer side of every picture in pixels, where all are alike.
        variants: What follows a scene's name in its degraded pictures, where every scene has the same ones.
        references: By which a copy is recognised.
    """

    count: int
    places: tuple[Place, ...]
    names: tuple[str, ...] = ()
    each: int = 0
    sides: tuple[int, int] | None = None
    variants: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set.

    Attributes:
        name: What it is asked for by, in lower case.
        title: What its authors call it.
        task: What is wrong with its pictures; "clean" for sets of clean ones.
        splits: Its parts by name.
        pairing: How a degraded picture finds its clean one; one sentence without full stop.
        page: The official page.
        licence: As the set's users quote it; "none seen" where no statement was found. The page decides.
        access: "url" plain addresses, "drive" a drive link, "login" an account, "request" terms, a form or
            an e-mail.
        how: One sentence on how to get it.
        download: The plain address of its files, with {file} for each; "" if there is none. The names and
            SHA-256 hashes are in fingerprints.json.
        subsets: Names of subsets, each with the folder names it goes by (``a|b``).
        scene: A pattern whose first group in a clean picture's name is the scene that it shows; "" if every
            clean picture is a scene of its own.
        prefixes: What copies put before the names.
        spare_targets: Whether clean pictures without a degraded one are normal.
        doubts: What could not be verified.
    """

    name: str
    title: str
    task: str
    splits: Mapping[str, Split]
    pairing: str
    page: str
    licence: str
    access: Access
    how: str
    download: str = ""
    subsets: Mapping[str, str] = field(default_factory=dict[str, str])
    scene: str = ""
    prefixes: tuple[str, ...] = ()
    spare_targets: bool = False
    doubts: str = ""


def _numbers(first: int, last: int, form: str = "{}") -> tuple[str, ...]:
    return tuple(form.format(number) for number in range(first, last + 1))


def _ranges(text: str) -> tuple[str, ...]:
    """Numbers from text such as "2 5-6 9"."""
    ends = ([int(end) for end in word.split("-")] for word in text.split())
    return tuple(str(number) for end in ends for number in range(end[0], end[-1] + 1))


# The file names of BSD400, the training and test images of BSDS500. The list that PromptIR and AdaIR release
# has an "a" before each of them, which no copy of the set has: their loaders drop all 400 without a word.
_BSD400 = _ranges(
    """
    2018 2092 3063 5096 6046 8049 8068 8143 10081 12003 12074 14085 14092 15004 15011 15062 15088 16004
    16052 16068 17067 20008 20069 22013 22090 22093 23025 23050 23080 23084 24004 24063 25098 26031
    27059 28075 28083 28096 29030 33044 33066 35008 35010 35028 35049 35058 35070 35091 36046 41004
    41006 41025 41029 41085 41096 42044 42078 43033 43051 43070 43083 45000 45077 46076 48017 48025
    48055 49024 51084 54005 55067 55075 56028 59078 60079 61034 61060 61086 64061 65010 65019 65074
    65084 65132 66039 66075 67079 68077 69000 69007 69022 70011 70090 71046 71076 71099 76002 77062
    78019 78098 79073 80085 80090 80099 81066 81090 81095 87015 87065 90076 92014 92059 94079 94095
    95006 97010 97017 100007 100039 100075 100080 100098 100099 101027 101084 102062 103006 103029
    103041 103078 104010 104022 104055 105019 105027 105053 106005 106020 106025 106047 107014 107045
    107072 108004 108036 108041 108069 108073 109034 109055 112056 112082 112090 113009 113016 113044
    117025 117054 118015 118020 118031 118035 118072 120003 120093 122048 123057 124084 126039 128035
    130014 130034 130066 134008 134049 134052 134067 135037 135069 138032 138078 140006 140055 140075
    140088 141012 141048 144067 145014 145053 145059 145079 146074 147021 147062 147077 147080 151087
    153077 153093 155060 156054 156079 157032 157036 157087 159002 159022 159029 159045 159091 160006
    160067 161045 161062 163004 163014 163062 163096 164046 164074 166081 168084 169012 170054 172032
    173036 175083 176019 176035 176039 176051 178054 179084 181018 181021 181079 181091 183055 183066
    183087 185092 187003 187029 187039 187058 187071 187083 187099 188005 188025 188063 188091 189003
    189006 189011 189013 189029 189096 196015 196027 196040 196062 196088 198004 198023 198054 198087
    201080 202000 202012 206062 206097 207038 207049 207056 208078 209021 209070 216041 216053 216066
    217013 217090 220003 223004 223060 225017 225022 226022 226033 226043 226060 227040 227046 228076
    230063 230098 231015 232038 232076 235098 236017 238011 238025 239007 239096 242078 243095 245051
    246009 246016 246053 247003 247012 247085 249021 249061 249087 250047 250087 253016 253036 253092
    254033 254054 257098 258089 259060 260081 267036 268002 268048 268074 271008 271031 274007 277053
    277095 279005 281017 285022 285036 286092 288024 289011 290035 292066 293029 296028 296058 299091
    301007 302003 302022 306051 306052 309004 309040 310007 311068 311081 314016 317043 317080 323016
    326025 326038 326085 334025 335088 335094 344010 346016 347031 353013 361084 365025 365072 365073
    368016 368037 368078 370036 372019 372047 374020 374067 376001 376020 376086 384022 384089 385022
    385028 388006 388016 388018 388067 393035
    """
)

# The file names of LOL v1's training pairs.
_OUR485 = _ranges(
    """
    2 5-6 9-10 12-18 21 24-28 33 35-36 38-40 42-48 50-54 56-64 67-70 73-78 80-84 86-89 91-107 109-110
    112-132 135-145 147 149-152 154 157 159-160 162 167 169 171-176 180 183-189 191 193-196 198-204
    206-207 209-213 215-216 219-222 225 227-233 235-244 246-254 257-265 267 328 330 342 344 450 460 464
    468-492 494-502 504-508 511-512 514-515 517 522-535 537-546 548-576 578-580 583 585-588 590-598
    600-601 604-617 620-630 633-634 637-651 653-655 658-664 666-668 670-671 674-704 708-741 743-747
    750-752 757-766 769-777 779 781-789
    """
)
_EVAL15 = _ranges("1 22 23 55 79 111 146 179 493 547 665 669 748 778 780")

# RESIDE's hazy pictures of a scene: five airlights times seven scattering coefficients.
_OTS = tuple(
    f"_{a}_{beta}"
    for a in ("0.8", "0.85", "0.9", "0.95", "1")
    for beta in ("0.04", "0.06", "0.08", "0.1", "0.12", "0.16", "0.2")
)

_GOPRO_VIDEO = r"^(.*?gopr\d+_\d+_\d+)"
_SLICES = r"^(.+?)[-_]\d+$"
_BSDS = ("BSDS500", "BSR/BSDS500", "BSD500", "BSDS500-500")
_BSDS_IMAGES = "data|./images|."
_BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html"
_BERKELEY_LICENCE = "non-commercial research, education"
_BSDS_HOW = (
    "The page links an archive, whose hash is not established here: unpack it yourself and run the check."
)
_RESIDE = "https://sites.google.com/view/reside-dehaze-datasets"
_AMIR = "https://github.com/Yaziwel/All-In-One-Medical-Image-Restoration-via-Task-Adaptive-Routing"
_AMIR_HOW = (
    "AMIR's page links its prepared slices on drives; its .bin files are pickles and its .nii files volumes, "
    "so save every slice as .npy first (docs/data.md)."
)


def _medical(*folders: str) -> dict[str, Split]:
    """AMIR's layout: MODALITY/{train,validation,test}/{LQ,HQ}."""
    return {
        split: Split(
            count=0,
            places=(
                Place(folders=folders, target=f"{split}/HQ|gt|target|full", degraded=f"{split}/LQ|input|low"),
            ),
        )
        for split in ("train", "validation", "test")
    }


_SETS = (
    DataSet(
        name="bsd400",
        title="BSD400",
        task="clean",
        splits={
            "train": Split(
                count=400,
                sides=(321, 481),
                names=_BSD400,
                places=(
                    Place(folders=("BSD400", "CBSD400", "BSDS400", "denoising/BSD400")),
                    Place(folders=_BSDS, target=f"{_BSDS_IMAGES}/train&test"),
                    Place(folders=("Denoise", "Train/Denoise", "data/Train/Denoise"), shared=True),
                ),
            )
        },
        pairing="clean pictures only",
        page=_BERKELEY,
        licence=_BERKELEY_LICENCE,
        access="url",
        how="It is the train and test folders of BSDS500, which are read in place, too.",
        prefixes=("a",),
    ),
    DataSet(
        name="bsd500",
        title="BSDS500",
        task="clean",
        splits={
            name: Split(
                count=count, sides=(321, 481), places=(Place(folders=_BSDS, target=f"{_BSDS_IMAGES}/{name}"),)
            )
            for name, count in (("train", 200), ("val", 100), ("test", 200))
        },
        pairing="clean pictures only",
        page=_BERKELEY,
        licence=_BERKELEY_LICENCE,
        access="url",
        how=_BSDS_HOW,
    ),
    DataSet(
        name="wed",
        title="Waterloo Exploration Database",
        task="clean",
        splits={
            "train": Split(
                count=4744,
                names=_numbers(1, 4744, "{:05}"),
                places=(
                    Place(
                        folders=(
                            "WED",
                            "WaterlooED",
                            "Waterloo",
                            "exploration_database_and_code",
                            "denoising/WaterlooED",
                        )
                    ),
                    Place(
                        folders=(
                            "WED",
                            "WaterlooED",
                            "Waterloo",
                            "exploration_database_and_code",
                            "denoising/WaterlooED",
                        ),
                        target="pristine_images",
                    ),
                    Place(folders=("Denoise", "Train/Denoise", "data/Train/Denoise"), shared=True),
                ),
            )
        },
        pairing="clean pictures only",
        page="https://ece.uwaterloo.ca/~k29ma/exploration/",
        licence="none seen",
        access="request",
        how="The authors' page links an archive behind their terms of use.",
    ),
    DataSet(
        name="cbsd68",
        title="CBSD68",
        task="clean",
        splits={
            "test": Split(
                count=68,
                sides=(321, 481),
                places=(
                    Place(
                        folders=(
                            "CBSD68",
                            "BSD68",
                            "test/denoise/bsd68",
                            "denoise/bsd68",
                            "CBSD68-dataset/CBSD68",
                        )
                    ),
                    Place(
                        folders=(
                            "CBSD68",
                            "BSD68",
                            "test/denoise/bsd68",
                            "denoise/bsd68",
                            "CBSD68-dataset/CBSD68",
                        ),
                        target="original_png|original",
                    ),
                ),
                references=(
                    Reference(psnr=24.8330, sigma=15),
                    Reference(psnr=20.5383, sigma=25),
                    Reference(psnr=15.0042, sigma=50),
                ),
            )
        },
        pairing="clean pictures only",
        page="https://github.com/clausmichele/CBSD68-dataset",
        licence=_BERKELEY_LICENCE,
        access="url",
        how="`anyrestore data prepare cbsd68` gets the 68 files and checks each hash.",
        download=(
            "https://raw.githubusercontent.com/clausmichele/CBSD68-dataset/"
            "51a07a95884ac7c8bdd5d1614f9da781adc3c4a0/CBSD68/original_png/{file}"
        ),
    ),
    DataSet(
        name="urban100",
        title="Urban100",
        task="clean",
        splits={
            "test": Split(
                count=100,
                names=_numbers(1, 100, "img_{:03}"),
                places=(
                    Place(folders=("Urban100", "Urban100_HR", "test/denoise/urban100", "denoise/urban100")),
                    Place(
                        folders=("Urban100", "Urban100_HR", "test/denoise/urban100", "denoise/urban100"),
                        target="HR|image_SRF_4|./HR",
                    ),
                ),
            )
        },
        pairing="clean pictures only",
        page="https://github.com/jbhuang0604/SelfExSR",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
    ),
    DataSet(
        name="kodak24",
        title="Kodak24",
        task="clean",
        splits={
            "test": Split(
                count=24,
                sides=(512, 768),
                names=_numbers(1, 24, "kodim{:02}"),
                places=(
                    Place(
                        folders=("Kodak24", "Kodak", "CKodak24", "test/denoise/kodak24", "denoise/kodak24")
                    ),
                ),
            )
        },
        pairing="clean pictures only",
        page="https://r0k.us/graphics/kodak/",
        licence="unrestricted use (Kodak)",
        access="url",
        how="The page has 24 PNG files to save, whose hashes are not established here.",
    ),
    DataSet(
        name="rain100l",
        title="Rain100L",
        task="rain",
        splits={
            "train": Split(
                count=200,
                sides=(321, 481),
                names=_numbers(1, 200),
                places=(
                    Place(
                        folders=("RainTrainL", "Train100L", "deraining/RainTrainL", "rain_data_train_Light"),
                        target="gt|norain|target",
                        degraded="rainy|rain|input",
                    ),
                    Place(
                        folders=("Rain100L",),
                        target="train/gt|norain|target",
                        degraded="train/rainy|rain|input",
                    ),
                    Place(
                        folders=("Train/Derain", "Derain", "data/Train/Derain"), target="gt", degraded="rainy"
                    ),
                ),
            ),
            "test": Split(
                count=100,
                sides=(321, 481),
                names=_numbers(1, 100),
                places=(
                    Place(
                        folders=(
                            "Rain100L",
                            "test/derain/Rain100L",
                            "derain/Rain100L",
                            "deraining/Rain100L",
                            "rain_data_test_Light",
                        ),
                        target="target|gt|norain",
                        degraded="input|rainy|rain",
                    ),
                    Place(
                        folders=("Rain100L",),
                        target="test/target|gt|norain",
                        degraded="test/input|rainy|rain",
                    ),
                    Place(folders=("rain_data_test_Light",), target=".", degraded="rain/X2|."),
                    Place(folders=("rain_data_test_Light", "Rain100L"), target=".", degraded="."),
                ),
                references=(Reference(psnr=25.52),),
            ),
        },
        pairing="same name; `rain-1` with `norain-1`",
        page="https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
    ),
    DataSet(
        name="rain100h",
        title="Rain100H",
        task="rain",
        splits={
            "train": Split(
                count=1800,
                places=(
                    Place(
                        folders=("RainTrainH", "Train100H", "deraining/RainTrainH", "rain_data_train_Heavy"),
                        target="gt|norain|target",
                        degraded="rainy|rain|input",
                    ),
                    Place(
                        folders=("Rain100H",),
                        target="train/gt|norain|target",
                        degraded="train/rainy|rain|input",
                    ),
                    Place(folders=("rain_data_train_Heavy",), target="norain|gt", degraded="rain/X2"),
                ),
            ),
            "test": Split(
                count=100,
                names=_numbers(1, 100),
                places=(
                    Place(
                        folders=(
                            "Rain100H",
                            "test/derain/Rain100H",
                            "deraining/Rain100H",
                            "rain_data_test_Heavy",
                        ),
                        target="target|gt|norain",
                        degraded="input|rainy|rain",
                    ),
                    Place(
                        folders=("Rain100H",),
                        target="test/target|gt|norain",
                        degraded="test/input|rainy|rain",
                    ),
                    Place(folders=("rain_data_test_Heavy",), target=".", degraded="rain/X2|."),
                    Place(folders=("rain_data_test_Heavy", "Rain100H"), target=".", degraded="."),
                ),
                references=(Reference(psnr=12.13),),
            ),
        },
        pairing="same name; `rain-1` with `norain-1`",
        page="https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
        doubts="1,800 training pairs is the authors' number; their names were not seen",
    ),
    DataSet(
        name="ots",
        title="RESIDE OTS",
        task="haze",
        splits={
            "train": Split(
                count=72_135,
                variants=_OTS,
                places=(
                    Place(
                        folders=("OTS", "RESIDE", "OTS_BETA", "RESIDE/OTS", "RESIDE-OTS", "dehazing/RESIDE"),
                        target="clear|clear_images|original|gt",
                        degraded="part*",
                    ),
                    Place(
                        folders=("OTS", "RESIDE", "OTS_BETA", "RESIDE/OTS", "RESIDE-OTS"),
                        target="clear|clear_images|original|gt",
                        degraded="hazy|haze",
                    ),
                    Place(
                        folders=("Train/Dehaze", "Dehaze", "data/Train/Dehaze", "OTS", "RESIDE"),
                        target="original|clear",
                        degraded="synthetic/part*",
                    ),
                ),
            )
        },
        pairing="`0025_0.8_0.1` with `0025`",
        page=f"{_RESIDE}/reside-%CE%B2",
        licence="none seen",
        access="drive",
        how="The page links four parts of hazy pictures and the clear ones on drives.",
        spare_targets=True,
    ),
    DataSet(
        name="sots",
        title="RESIDE SOTS outdoor",
        task="haze",
        splits={
            "test": Split(
                count=500,
                places=(
                    Place(
                        folders=("SOTS", "RESIDE/SOTS", "RESIDE-SOTS"),
                        target="outdoor/gt|clear|target",
                        degraded="outdoor/hazy|haze|input",
                    ),
                    Place(
                        folders=(
                            "SOTS",
                            "SOTS-outdoor",
                            "outdoor",
                            "test/dehaze",
                            "dehazing/SOTS",
                            "dehaze",
                            "RESIDE/SOTS-outdoor",
                        ),
                        target="gt|clear|target",
                        degraded="hazy|haze|input",
                    ),
                ),
            )
        },
        pairing="`0001_0.8_0.2` with `0001`; two hazy pictures may share a clear one",
        page=f"{_RESIDE}/reside-v0",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive; its indoor half is not used here.",
    ),
    DataSet(
        name="gopro",
        title="GoPro, full frames",
        task="blur",
        splits={
            name: Split(
                count=count,
                sides=(720, 1280),
                places=(
                    Place(
                        folders=("GOPRO_Large", "GoPro", "GoPro_Large", "deblurring/GoPro"),
                        target=f"{name}/*/sharp",
                        degraded=f"{name}/*/blur",
                    ),
                    Place(
                        folders=("GoPro", "GOPRO_Large", "deblurring/GoPro"),
                        target=f"{name}/sharp|target|gt",
                        degraded=f"{name}/blur|input",
                    ),
                    *elsewhere,
                ),
            )
            for name, count, elsewhere in (
                (
                    "train",
                    2103,
                    (
                        Place(
                            folders=("Train/Deblur", "Deblur", "data/Train/Deblur"),
                            target="sharp",
                            degraded="blur",
                        ),
                        Place(folders=("Downloads/GoPro", "train/GoPro"), target="target", degraded="input"),
                    ),
                ),
                (
                    "test",
                    1111,
                    (
                        Place(
                            folders=("test/deblur/gopro", "test/GoPro", "deblur/gopro"),
                            target="target",
                            degraded="input",
                        ),
                    ),
                ),
            )
        },
        pairing="same name in `sharp` as in `blur`; `blur_gamma` is not used",
        page="https://seungjunnah.github.io/Datasets/gopro",
        licence="CC BY 4.0",
        access="drive",
        how="The page links GOPRO_Large on a drive and a mirror.",
        scene=_GOPRO_VIDEO,
    ),
    DataSet(
        name="gopro-crops",
        title="GoPro, Restormer's 512-px crops",
        task="blur",
        splits={
            "train": Split(
                count=16_824,
                sides=(512, 512),
                places=(
                    Place(
                        folders=(
                            "GoPro-crops",
                            "train/GoPro",
                            "GoPro/crop/train",
                            "GoPro",
                            "deblurring/GoPro/crop/train",
                        ),
                        target="target_crops",
                        degraded="input_crops",
                    ),
                    Place(
                        folders=("GoPro", "GOPRO_Large"),
                        target="train/target_crops",
                        degraded="train/input_crops",
                    ),
                ),
            )
        },
        pairing="same name",
        page="https://github.com/swz30/Restormer/tree/main/Motion_Deblurring",
        licence="CC BY 4.0",
        access="drive",
        how="`anyrestore data prepare gopro-crops` cuts them from your copy of GoPro's training frames.",
        scene=_GOPRO_VIDEO,
    ),
    DataSet(
        name="lolv1",
        title="LOL v1",
        task="low light",
        splits={
            "train": Split(
                count=485,
                sides=(400, 600),
                names=_OUR485,
                places=(
                    Place(
                        folders=("LOLv1", "LOL", "LOLdataset", "LOL-v1", "llie/LOLv1"),
                        target="our485|train/high|target|gt",
                        degraded="our485|train/low|input",
                    ),
                    Place(
                        folders=("LOLv1-our485", "LOLv1-our485-288", "our485", "Train/Enhance", "Enhance"),
                        target="high|target|gt",
                        degraded="low|input",
                    ),
                ),
            ),
            "test": Split(
                count=15,
                sides=(400, 600),
                names=_EVAL15,
                places=(
                    Place(
                        folders=("LOLv1", "LOL", "LOLdataset", "LOL-v1", "llie/LOLv1"),
                        target="eval15|test/high|target|gt",
                        degraded="eval15|test/low|input",
                    ),
                    Place(
                        folders=("LOLv1-eval15", "eval15", "test/enhance/lol", "enhance/lol"),
                        target="high|target|gt",
                        degraded="low|input",
                    ),
                ),
                references=(Reference(psnr=7.77),),
            ),
        },
        pairing="same name",
        page="https://daooshee.github.io/BMVC2018website/",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
    ),
    DataSet(
        name="cdd11",
        title="CDD-11",
        task="composite",
        splits={
            name: Split(
                count=scenes * 11,
                each=scenes,
                sides=(720, 1080),
                places=(
                    Place(folders=(f"CDD-11_{name}",), target="clear", degraded="{subset}"),
                    Place(folders=("CDD-11", "CDD11"), target=f"{name}/clear", degraded=f"{name}/{{subset}}"),
                    Place(
                        folders=("CDD-11", "CDD11"),
                        target=f"CDD-11_{name}/clear",
                        degraded=f"CDD-11_{name}/{{subset}}",
                    ),
                ),
            )
            for name, scenes in (("train", 1183), ("test", 200))
        },
        pairing="same name in `clear`; the folder is the category",
        page="https://huggingface.co/datasets/gy65896/CDD-11",
        licence="none seen",
        access="url",
        how="The page has a zip file for each split (22 GB, 4 GB), whose hashes are not established here.",
        subsets={
            name: name
            for name in (
                *("low", "haze", "rain", "snow"),
                *("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
                *("low_haze_rain", "low_haze_snow"),
            )
        },
    ),
    DataSet(
        name="snow100k",
        title="Snow100K",
        task="snow",
        splits={
            "train": Split(
                count=50_000,
                places=(
                    Place(
                        folders=("Snow100K", "snow100k"),
                        target="Snow100K-training|train|training/all/gt",
                        degraded="Snow100K-training|train|training/all/synthetic",
                    ),
                    Place(
                        folders=("Snow100K", "snow100k"),
                        target="train/gt|target",
                        degraded="train/synthetic|input|snow",
                    ),
                    Place(folders=("Snow100K-training",), target="all/gt", degraded="all/synthetic"),
                    Place(folders=("all",), target="gt", degraded="synthetic"),
                ),
            ),
            "test": Split(
                count=50_000,
                places=(
                    Place(
                        folders=("Snow100K", "snow100k"),
                        target="test/{subset}/gt",
                        degraded="test/{subset}/synthetic",
                    ),
                    Place(
                        folders=("Snow100K", "Snow100K-testset"),
                        target="Snow100K-testset|./jdway/GameSSD/overlapping/test/{subset}/gt",
                        degraded="Snow100K-testset|./jdway/GameSSD/overlapping/test/{subset}/synthetic",
                    ),
                    Place(folders=(".",), target="{subset}/gt|target", degraded="{subset}/synthetic|input"),
                ),
            ),
        },
        pairing="same name in `gt` as in `synthetic`",
        page="https://sites.google.com/view/yunfuliu/desnownet",
        licence="none seen",
        access="drive",
        how="The page links the training and test parts on drives.",
        subsets={size: f"Snow100K-{size}|{size}" for size in "SML"},
        doubts="the test parts hold 16,611 (S), 16,588 (M) and 16,801 (L) pairs, say the authors' users",
    ),
    DataSet(
        name="outdoor-rain",
        title="Outdoor-Rain",
        task="rain and haze",
        splits={
            "train": Split(
                count=9000,
                places=(
                    Place(
                        folders=("Outdoor-Rain", "OutdoorRain", "HeavyRain", "rainfog"),
                        target="train/gt|target",
                        degraded="train/in|input|data",
                    ),
                ),
            ),
            "test": Split(
                count=750,
                places=(
                    Place(
                        folders=("Outdoor-Rain", "OutdoorRain", "HeavyRain", "rainfog"),
                        target="test1|test/gt|target",
                        degraded="test1|test/input|in|data",
                    ),
                    Place(folders=("test1", "Test1"), target="gt|target", degraded="input|in"),
                ),
            ),
        },
        pairing="`im_0001_s80_a04` with `im_0001`",
        page="https://github.com/liruoteng/HeavyRainRemoval",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive; Test1 is the 750 pairs that weather papers measure.",
        scene=r"^(im_\d+)",
        doubts="9,000 training pairs is the papers' number; other copies of the test part hold 1,500",
    ),
    DataSet(
        name="raindrop",
        title="RainDrop",
        task="raindrops",
        splits={
            name: Split(
                count=count,
                places=(
                    Place(
                        folders=("RainDrop", "raindrop_data", "DeRaindrop"),
                        target=f"{folder}/gt|clean|target",
                        degraded=f"{folder}/data|input|rain",
                    ),
                ),
            )
            for name, folder, count in (
                ("train", "train", 861),
                ("test", "test_a|test", 58),
                ("test_b", "test_b", 249),
            )
        },
        pairing="`0_rain` with `0_clean`",
        page="https://github.com/rui1996/DeRaindrop",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive; `test` is test_a.",
        doubts="58 and 249 test pairs are the papers' numbers",
    ),
    DataSet(
        name="allweather",
        title="AllWeather (TransWeather)",
        task="weather",
        splits={
            "train": Split(
                count=18_069,
                places=(
                    Place(folders=("allweather", "All-Weather"), target="gt|target", degraded="input"),
                    Place(
                        folders=(
                            "allweather",
                            "All-Weather",
                            "train/allweather",
                            "data/train/allweather",
                            "data/allweather",
                        ),
                        target="train|./gt|target",
                        degraded="train|./input",
                    ),
                ),
            )
        },
        pairing="same name",
        page="https://github.com/jeya-maria-jose/TransWeather",
        licence="none seen",
        access="drive",
        how="TransWeather's page links the combination of Snow100K, Outdoor-Rain and RainDrop on a drive.",
        scene=r"^(im_\d+)(?=_s\d+_a\d+$)",
        doubts="18,069 pictures, as TransWeather says; the page has no list of names",
    ),
    DataSet(
        name="csd",
        title="CSD",
        task="snow",
        splits={
            "train": Split(
                count=8000,
                places=(
                    Place(folders=("CSD",), target="Train|train2500/Gt", degraded="Train|train2500/Snow"),
                ),
            ),
            "test": Split(
                count=2000,
                places=(Place(folders=("CSD",), target="Test|test2000/Gt", degraded="Test|test2000/Snow"),),
            ),
        },
        pairing="same name in `Gt` as in `Snow`",
        page="https://github.com/weitingchen83/ICCV2021-Single-Image-Desnowing-HDCWNet",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
        doubts="a common copy has 2,500 of the 8,000 training pairs (train2500)",
    ),
    DataSet(
        name="weatherbench",
        title="WeatherBench",
        task="weather",
        splits={
            name: Split(
                count=count,
                places=(
                    Place(
                        folders=("WeatherBench",),
                        target=f"{name}/{{subset}}/{_GT}",
                        degraded=f"{name}/{{subset}}/{_IN}",
                    ),
                    Place(
                        folders=("WeatherBench",),
                        target=f"{{subset}}/{name}/{_GT}",
                        degraded=f"{{subset}}/{name}/{_IN}",
                    ),
                ),
            )
            for name, count in (("train", 41_402), ("test", 600))
        },
        pairing="same name",
        page="https://github.com/guanqiyuan/WeatherBench",
        licence="none seen",
        access="drive",
        how="The page links the set on a drive.",
        subsets={"haze": "haze|hazy|fog", "rain": "rain|rainy", "snow": "snow|snowy"},
        doubts="the counts are the page's; the folders' names inside the archive were not seen",
    ),
    DataSet(
        name="uieb",
        title="UIEB",
        task="underwater",
        splits={
            "train": Split(
                count=890,
                places=(
                    Place(
                        folders=("UIEB", "UIEBD"),
                        target="reference-890|reference|gt|target",
                        degraded="raw-890|raw|input",
                    ),
                ),
            )
        },
        pairing="same name",
        page="https://li-chongyi.github.io/proj_benchmark.html",
        licence="academic use only, no redistribution",
        access="drive",
        how="The page links raw-890 and reference-890 on drives; there is no official division into parts.",
    ),
    DataSet(
        name="ixi",
        title="IXI, MRI super-resolution (AMIR)",
        task="mri",
        splits=_medical("MRI", "IXI", "All-in-One/MRI", "AMIR/MRI"),
        pairing="same name in `HQ` as in `LQ`",
        page=_AMIR,
        licence="CC BY-SA 3.0 (IXI)",
        access="drive",
        how=_AMIR_HOW,
        scene=_SLICES,
        doubts="AMIR publishes no counts; which slices are of one person is read off the names",
    ),
    DataSet(
        name="aapm",
        title="AAPM low-dose CT (AMIR)",
        task="ct",
        splits=_medical("CT", "AAPM", "All-in-One/CT", "AMIR/CT"),
        pairing="same name in `HQ` as in `LQ`",
        page=_AMIR,
        licence="by agreement with the AAPM",
        access="drive",
        how=_AMIR_HOW,
        scene=_SLICES,
        doubts="AMIR publishes no counts; which slices are of one person is read off the names",
    ),
    DataSet(
        name="pet",
        title="PET synthesis (AMIR)",
        task="pet",
        splits=_medical("PET", "All-in-One/PET", "AMIR/PET"),
        pairing="same name in `HQ` as in `LQ`",
        page=_AMIR,
        licence="none seen",
        access="drive",
        how=_AMIR_HOW,
        scene=_SLICES,
        doubts="AMIR publishes no counts; which slices are of one person is read off the names",
    ),
)

CATALOG: dict[str, DataSet] = {entry.name: entry for entry in _SETS}
"""Every data set by name, in the order of the table."""
