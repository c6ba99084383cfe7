"""Lesson 4: a teacher's soft answers, the loss that passes them on, and a small student that learns on the spot."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from compression.data.catalog import DATASETS
from compression.language import N_
from compression.lessons import forward, measured, networks
from compression.lessons.curves import Bars, Line
from compression.lessons.forward import softmax
from compression.lessons.images import CLASSES, fashion
from compression.lessons.networks import LENET, LENET300, RESNET
from compression.network.decisions import classes

TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
ALPHAS = (0.0, 0.3, 0.6, 0.9, 1.0)
SEEDS = 5
EPOCHS, BATCH, RATE = 40, 64, 0.005
LABELLED = 60
HIDDEN, SMALL, ASSISTANT = 16, 4, 12
DECAY_1, DECAY_2, TINY = 0.9, 0.999, 1e-8  # of Adam


@dataclass(frozen=True, eq=False)
class Split:
    """Digits, normalised: inputs [n, 64] float32, labels [n]."""

    inputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Course:
    """How a student is taught: `labelled` images have labels; alpha is the teacher's share in the loss."""

    temperature: float = 4.0
    alpha: float = 0.9
    labelled: int = LABELLED
    hidden: int = HIDDEN
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """Where a student stands: mean loss, and accuracy on the validation images in [0, 1]."""

    number: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Student:
    """One hidden layer: weights and biases by name, as `_scores` reads them."""

    tensors: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Pair:
    """A student with a teacher beside one with labels alone: their epochs so far."""

    taught: tuple[Epoch, ...]
    alone: tuple[Epoch, ...]
    student: Student
    plain: Student

    @property
    def pause(self) -> bool:
        """Whether this is an epoch to draw: every fourth."""
        return len(self.taught) % 4 == 0

    @property
    def taught_accuracy(self) -> float:
        """On the test images."""
        return test_accuracy(self.student)

    @property
    def alone_accuracy(self) -> float:
        """On the test images."""
        return test_accuracy(self.plain)


@dataclass(frozen=True)
class Outcome:
    """Accuracy on the test images over seeds: mean and standard deviation."""

    mean: float
    deviation: float


def soft(image: int, temperature: float) -> Bars:
    """The teacher's softened answer for one image."""
    return Bars(N_("Probability"), CLASSES, softmax(_teacher_scores()[image], temperature))


@lru_cache(maxsize=32)
def affinity(temperature: float) -> np.ndarray:
    """Row by row, the mean softened answer for validation images of a class: [classes, classes]; rows sum to 1."""
    kept = measured.samples()
    shares = softmax(kept["teacher_scores"].astype(np.float64), temperature)
    return np.stack([shares[kept["teacher_labels"] == label].mean(0) for label in range(len(CLASSES))])


@lru_cache(maxsize=1)
def gradients() -> tuple[Line, Line]:
    """Mean size of the soft loss's gradient by temperature, as it is and times T²; LeNet-5 learns from ResNet-20.

    The gradient by a score z is (q - p) / T, q and p the answers of student and teacher (Hinton et al. eq. 2).
    """
    temperatures = np.geomspace(1, 20, 25)
    student = forward.run("lenet5", networks.weights(*LENET), fashion().inputs).scores
    sizes = np.array([
        np.abs((softmax(student, t) - softmax(_teacher_scores(), t)) / t).mean() for t in temperatures
    ])  # fmt: skip
    return Line(N_("Gradient"), temperatures, sizes), Line("Gradient × T²", temperatures, sizes * temperatures**2)


def teach(course: Course) -> Iterator[tuple[Epoch, Student]]:
    """A student after each epoch, the last one being the result; LeNet-300-100 teaches it on Digits.

    The loss is alpha·T²·KL(p‖q) + (1 - alpha)·cross-entropy; images without a label have only the first part.
    """
    yield from _train(course, teacher_scores())


def side_by_side(course: Course) -> Iterator[Pair]:
    """The course beside the same one from labels alone, epoch by epoch."""
    taught: tuple[Epoch, ...] = ()
    alone: tuple[Epoch, ...] = ()
    for (mine, student), (other, plain) in zip(teach(course), teach(replace(course, alpha=0.0)), strict=True):
        taught, alone = (*taught, mine), (*alone, other)
        yield Pair(taught, alone, student, plain)


@lru_cache(maxsize=256)
def outcome(course: Course) -> float:
    """Share of the test images that the student answers rightly at the end of its course."""
    return test_accuracy(last(teach(course)))


def through_assistant(course: Course) -> float:
    """The same where a network of middle size learns first and then teaches (Mirzadeh et al. 2020)."""
    middle = Course(course.temperature, course.alpha, course.labelled, ASSISTANT, course.seed)
    assistant = last(teach(middle))
    return test_accuracy(last(_train(course, _scores(assistant.tensors, digits("train").inputs)[1])))


def last(course: Iterator[tuple[Epoch, Student]]) -> Student:
    """The student at the end."""
    *_, (_, student) = course
    return student


def test_accuracy(student: Student) -> float:
    """On the 359 test images of Digits."""
    return _accuracy(student.tensors, digits("test"))


@lru_cache(maxsize=4)
def digits(part: str) -> Split:
    """The split called 'train', 'validation' or 'test', normalised as the teacher was trained."""
    kept, spec = measured.samples(), DATASETS["digits"]
    pixels = kept[f"digits_{part}_images"].reshape(-1, 64).astype(np.float32)
    return Split((pixels / 255 - spec.mean[0]) / spec.std[0], kept[f"digits_{part}_labels"].astype(np.int64))


@lru_cache(maxsize=1)
def teacher_scores() -> np.ndarray:
    """What LeNet-300-100 says of the training images of Digits: [n, 10]."""
    return forward.run("lenet300", networks.weights(*LENET300), digits("train").inputs).scores


def grid() -> dict[tuple[float, float], Outcome] | None:
    """Measured outcomes by temperature and alpha, or None where they have not been measured."""
    found = measured.extra("students")
    if not found:
        return None
    return {(cell["temperature"], cell["alpha"]): Outcome(cell["mean"], cell["deviation"]) for cell in found["grid"]}


def cells() -> np.ndarray | None:
    """The means of `grid`: [alphas, temperatures]."""
    found = grid()
    if found is None:
        return None
    return np.array([[found[t, alpha].mean for t in TEMPERATURES] for alpha in ALPHAS])


def assistants() -> dict[str, Outcome] | None:
    """Measured outcomes of the small student: from labels, from the teacher, and through an assistant."""
    found = measured.extra("students")
    return {name: Outcome(**cell) for name, cell in found["assistants"].items()} if found else None


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    shirt, found, helped = CLASSES.index("Shirt"), grid() or {}, assistants() or {}
    near = affinity(4.0)[shirt].copy()
    near[shirt] = 0
    plain, sized = gradients()
    return {
        "top_1": float(np.mean(softmax(_teacher_scores()).max(1))),
        "top_8": float(np.mean(softmax(_teacher_scores(), 8.0).max(1))),
        "shirt_near": CLASSES[int(near.argmax())],
        "shirt_near_share": float(near.max()),
        "shirt_far_share": float(affinity(4.0)[shirt, CLASSES.index("Ankle boot")]),
        "gradient_falls": float(plain.y[0] / plain.y[-1]),
        "scaled_changes": float(max(sized.y) / min(sized.y)),
        "labelled": LABELLED,
        "unlabelled": len(digits("train").labels),
        "student_weights": 64 * HIDDEN + 10 * HIDDEN,
        "teacher_weights": sum(layer.weight.size for layer in networks.layers(*LENET300)),
        "labels_only": found[4.0, 0.0].mean if found else None,
        "taught": found[4.0, 0.9].mean if found else None,
        "taught_1": found[1.0, 0.9].mean if found else None,
        "small_labels": helped["labels"].mean if helped else None,
        "small_direct": helped["direct"].mean if helped else None,
        "small_assistant": helped["assistant"].mean if helped else None,
        "small_deviation": helped["direct"].deviation if helped else None,
    }


def _train(course: Course, scores: np.ndarray) -> Iterator[tuple[Epoch, Student]]:
    draw, train = np.random.default_rng(course.seed), digits("train")
    known = np.zeros(len(train.labels), bool)
    known[np.random.default_rng(0).permutation(len(known))[: course.labelled]] = True  # the same images for every seed
    tensors = fresh_student(course.hidden, draw)
    moments = {name: (np.zeros_like(t), np.zeros_like(t)) for name, t in tensors.items()}
    steps = 0
    for epoch in range(EPOCHS):
        # Without a teacher the labelled images come again and again, so that every course has as many steps.
        order = draw.permutation(len(known)) if course.alpha else draw.choice(np.flatnonzero(known), len(known))
        total, batches = 0.0, np.array_split(order, len(order) // BATCH)
        for batch in batches:
            loss, gradient = distillation_loss(tensors, train, scores, known, batch, course)
            steps += 1
            _adam_(tensors, moments, gradient, steps)
            total += loss
        yield Epoch(epoch, total / len(batches), _accuracy(tensors, digits("validation"))), Student(tensors)


def fresh_student(hidden: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of a student that has not learned: w1 [64, hidden], w2 [hidden, 10] (He et al. 2015), biases 0."""
    return {
        "w1": draw.normal(0, np.sqrt(2 / 64), (64, hidden)), "b1": np.zeros(hidden),
        "w2": draw.normal(0, np.sqrt(2 / hidden), (hidden, 10)), "b2": np.zeros(10),
    }  # fmt: skip


def _scores(w: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden values [n, hidden] and scores [n, 10]."""
    hidden = np.maximum(x @ w["w1"] + w["b1"], 0)
    return hidden, hidden @ w["w2"] + w["b2"]


def distillation_loss(
    w: dict[str, np.ndarray], train: Split, scores: np.ndarray, known: np.ndarray, batch: np.ndarray, course: Course
) -> tuple[float, dict[str, np.ndarray]]:
    """Mean loss of a batch of indices, and its gradient by every tensor."""
    x, labels, t = train.inputs[batch], train.labels[batch], course.temperature
    hidden, z = _scores(w, x)
    p, q, hard = softmax(scores[batch].astype(np.float64), t), softmax(z, t), softmax(z)
    truth, weight = np.eye(10)[labels], (1 - course.alpha) * known[batch, None]
    kl = (p * (np.log(p + 1e-12) - np.log(q + 1e-12))).sum(1)
    entropy = -np.log(hard[np.arange(len(batch)), labels] + 1e-12)
    loss = float((course.alpha * t**2 * kl + weight[:, 0] * entropy).mean())
    back = (course.alpha * t * (q - p) + weight * (hard - truth)) / len(batch)  # by z [n, 10]
    inner = (back @ w["w2"].T) * (hidden > 0)
    return loss, {"w1": x.T @ inner, "b1": inner.sum(0), "w2": hidden.T @ back, "b2": back.sum(0)}


def _adam_(
    w: dict[str, np.ndarray], moments: dict[str, tuple[np.ndarray, np.ndarray]], g: dict[str, np.ndarray], step: int
) -> None:
    """One step of Adam (Kingma and Ba 2015, algorithm 1)."""
    for name, tensor in w.items():
        first, second = moments[name]
        first += (1 - DECAY_1) * (g[name] - first)
        second += (1 - DECAY_2) * (np.square(g[name]) - second)
        tensor -= RATE * (first / (1 - DECAY_1**step)) / (np.sqrt(second / (1 - DECAY_2**step)) + TINY)


def _accuracy(w: dict[str, np.ndarray], split: Split) -> float:
    return float((classes(_scores(w, split.inputs)[1]) == split.labels).mean())


@lru_cache(maxsize=1)
def _teacher_scores() -> np.ndarray:
    """What ResNet-20 says of the sample images: [n, 10]."""
    return forward.run("resnet20", networks.weights(*RESNET), fashion().inputs).scores
