"""Jobs: what pages ask for, carried out in worker processes; results go to the store.

Pages import from here alone. A name is imported from its module when it is first used (PEP 562), and none of these
modules imports torch. Functions that only a worker can answer are sent there by `Lab.ask`:

    answer = lab.ask(jobs.explain_latency, request, onnx, layers)        # a Future
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compression.jobs.additions import (
        Inputs,
        LibraryNetwork,
        Ranking,
        add_network,
        choose_preprocessing,
        dismiss_network,
        import_network,
        inputs_of,
        library_networks,
        ranked_preprocessings,
    )
    from compression.jobs.device_files import board_folder, device_file, probe_package
    from compression.jobs.job import Job, News
    from compression.jobs.lab import Lab
    from compression.jobs.long_jobs import can_finish
    from compression.jobs.messages import (
        Baseline,
        Finished,
        Outcome,
        Refusal,
        Request,
        Searching,
        Sweeping,
        Training,
        Work,
    )
    from compression.jobs.permits import check_images
    from compression.jobs.pictures import (
        Extracted,
        PictureUsage,
        clear_pictures,
        keep_uploaded,
        limit_pictures,
        picture_usage,
        unpack_pictures,
    )
    from compression.jobs.questions import (
        browser_images,
        class_map_of,
        compare_deployment,
        compare_predictions,
        compressed_structure,
        correct_classes,
        explain_latency,
        feature_maps,
        known_sensitivities,
        layer_view,
        memory_growth,
        network_structure,
        operator_times,
        reachable_amounts,
        softmax,
        teacher_scores,
        write_format,
        write_with_preprocessing,
    )
    from compression.jobs.recipe_search import smallest_recipe
    from compression.jobs.reports import open_receiver, take_report
    from compression.jobs.result_recorder import end_orphans, from_plain
    from compression.jobs.search import SearchView, search_importances, search_of, search_view, searches
    from compression.jobs.small_networks import SmallNetwork, small_network_of, trained_networks
    from compression.jobs.watched import Watched

__all__ = [
    "Baseline", "Extracted", "Finished", "Inputs", "Job", "Lab", "LibraryNetwork", "News", "Outcome", "PictureUsage",
    "Ranking", "Refusal", "Request", "SearchView", "Searching", "SmallNetwork", "Sweeping", "Training", "Watched",
    "Work", "add_network", "board_folder", "browser_images", "can_finish", "check_images", "choose_preprocessing",
    "class_map_of", "clear_pictures", "compare_deployment", "compare_predictions", "compressed_structure",
    "correct_classes", "device_file", "dismiss_network", "end_orphans", "explain_latency", "feature_maps",
    "from_plain", "import_network", "inputs_of", "keep_uploaded", "known_sensitivities", "layer_view",
    "library_networks", "limit_pictures", "memory_growth", "network_structure", "open_receiver", "operator_times",
    "picture_usage", "probe_package", "ranked_preprocessings", "reachable_amounts", "search_importances", "search_of",
    "search_view", "searches", "small_network_of", "smallest_recipe", "softmax", "take_report", "teacher_scores",
    "trained_networks", "unpack_pictures", "write_format", "write_with_preprocessing",
]  # fmt: skip

_MODULES = {
    "additions": (
        "Inputs", "LibraryNetwork", "Ranking", "add_network", "choose_preprocessing", "dismiss_network",
        "import_network", "inputs_of",
        "library_networks", "ranked_preprocessings",
    ),
    "device_files": ("board_folder", "device_file", "probe_package"),
    "job": ("Job", "News"),
    "lab": ("Lab",),
    "long_jobs": ("can_finish",),
    "messages": ("Baseline", "Finished", "Outcome", "Refusal", "Request", "Searching", "Sweeping", "Training", "Work"),
    "permits": ("check_images",),
    "pictures": (
        "Extracted", "PictureUsage", "clear_pictures", "keep_uploaded",
        "limit_pictures", "picture_usage", "unpack_pictures",
    ),
    "questions": (
        "browser_images",
        "class_map_of", "compare_deployment", "compare_predictions", "compressed_structure", "correct_classes",
        "explain_latency",
        "feature_maps", "known_sensitivities",
        "layer_view", "memory_growth", "network_structure", "operator_times",
        "reachable_amounts", "softmax",
        "teacher_scores",
        "write_format", "write_with_preprocessing",
    ),
    "recipe_search": ("smallest_recipe",),
    "reports": ("open_receiver", "take_report"),
    "result_recorder": ("end_orphans", "from_plain"),
    "search": ("SearchView", "search_importances", "search_of", "search_view", "searches"),
    "small_networks": ("SmallNetwork", "small_network_of", "trained_networks"),
    "watched": ("Watched",),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562). Raises AttributeError for every other name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
