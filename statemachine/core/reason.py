"""Why a run moved: the enum that each transition on record carries, as Kubernetes conditions carry a reason."""

from enum import Enum


class TransitionReason(Enum):
    """Why a run moved, as one CamelCase word; the transition's `message` says it in a sentence.

    The first five say what started the run. A value stays on record for 400 days: never change one, and add one only
    with a new record format, because the release before cannot read it.
    """

    ARRIVAL = "Arrival"
    NIGHTLY = "Nightly"
    PERSON = "Person"
    REDRIVE = "Redrive"
    ROLLBACK = "Rollback"

    FROM_PREPROCESS = "StartedAtPreprocess"
    FROM_MATERIALISE = "StartedAtMaterialise"
    FROM_TRAIN = "StartedAtTrain"
    FROM_EVALUATE = "StartedAtEvaluate"
    FROM_EXPORT = "StartedAtExport"
    FROM_SHADOW = "StartedAtShadow"
    TO_RESTORE = "StartedRestore"

    PREPROCESSED = "Preprocessed"
    PREPROCESSED_FOR_LIVE = "PreprocessedForLive"
    REPORTED = "StageSucceeded"
    REFUSED = "StageRefused"
    REFUSED_DATA = "DataRefused"
    OUTDATED = "ChampionChanged"
    FAILED_GATE = "GateFailed"
    PASSED = "GatePassed"
    PASSED_FOR_APPROVAL = "ApprovalRequired"

    NOT_EXPORTED = "ExportedBeforeApproval"
    APPROVED = "Approved"
    APPROVED_ANEW = "ApprovedAfterChampionChanged"
    DISAPPROVED = "Disapproved"
    CANCELLED = "Cancelled"

    EXPORTED = "Exported"
    EXPORTED_FOR_SHADOW = "ExportedForShadow"
    EXPORTED_FOR_APPROVAL = "ApprovalRequiredAfterExport"
    EXPORTED_OUTDATED = "ChampionChangedAfterExport"
    EXPORTED_REFUSED = "ContentBlocked"
    FAILED_SHADOW = "ShadowFailed"
    PASSED_SHADOW = "ShadowPassed"
    PASSED_SHADOW_FOR_APPROVAL = "ApprovalRequiredAfterShadow"
    SHADOW_OUTDATED = "ChampionChangedAfterShadow"
    PROVEN = "DeploymentVerified"
    FAILED_WITH_CHAMPION = "DeploymentFailed"
    RESTORED = "ChampionRestored"
    RESTORED_FOR_CANCEL = "ChampionRestoredAfterCancel"
    RESTORED_ON_DEMAND = "VersionRestored"

    FAILED = "Failed"
    RETRYABLE_FAILURE = "RetryableFailure"
    OVERDUE = "DeadlineExceeded"

    @property
    def words(self) -> str:
        """The reason in lower-case words, for people."""
        return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in self.value).strip()

    @classmethod
    def _missing_(cls, value: object) -> "TransitionReason | None":
        """Reads what format 2 stored: the name of a guard function, or the kind of trigger that started the run."""
        name = str(value)
        return cls.__members__.get(RENAMED.get(name, name.upper()))


RENAMED = {"learned": "PREPROCESSED", "failed_for_a_while": "RETRYABLE_FAILURE"}
