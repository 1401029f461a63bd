"""The trainer's errors.

::

    TrainerError            one sentence for a person; the command ends with exit code 2
    ├── HistoryError        history that is missing, unreadable, empty or of another shape
    ├── MappingError        a mapping file, or a column or value it speaks of, is wrong
    ├── FitError            history from which nothing can be learnt
    ├── FeaturesError       features that cannot be computed or written, or an engine that is not there
    ├── ExportError         an ONNX model that does not answer like the model it was made from
    ├── EvaluateError       a history, a log or a journal by which nothing can be judged
    ├── StoreRefused        a store that cannot be written
    └── BundleError         a bundle that cannot be written, found or activated
"""


class TrainerError(Exception):
    """Base of all: its message is one sentence that says what was expected, what came and where."""


class HistoryError(TrainerError):
    """History that is missing, unreadable, empty or of another shape."""


class MappingError(TrainerError):
    """A mapping file, or a column or value it speaks of, is wrong."""


class FitError(TrainerError):
    """History from which nothing can be learnt."""


class FeaturesError(TrainerError):
    """Features that cannot be computed or written, or an engine that is not there."""


class EvaluateError(TrainerError):
    """A history, a log or a journal by which nothing can be judged."""


class ExportError(TrainerError):
    """An ONNX model that does not answer like the model it was made from."""


class BundleError(TrainerError):
    """A bundle that cannot be written, found or activated."""


class StoreRefused(TrainerError):
    """A store that cannot be written."""
