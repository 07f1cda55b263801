"""What real traffic does to a text, for training: stretched letters, lost tone marks, slips of the keyboard.

Each change is drawn on its own. The result goes through `arom normalize`, as served text does; what that repairs (เเ for แ, a letter
four times) needs no training.
"""

import random
import re

from normalize import normalized

MASKS = re.compile(r"\s*<(?:url|email|phone|user)>\s*")
HASHTAG = re.compile(r"\s*#\S+\s*")
TONES = re.compile("[่-๋]")
THAI = re.compile("[ก-ฮ]")
ENDING = re.compile(r"([ก-ฮะาเแโใไๆ])(?=\s|$)")
PARTICLE = re.compile(r"\s*(?:นะ)?(?:ครับ|คับ|ค่ะ|คะ|ค่า|จ้า|จ้ะ)(?=\s|$)")
PARTICLES = ["ครับ", "ค่ะ", "คะ", "คับ", "ค่า", "จ้า", "นะคะ", "นะครับ", "นะ", "อ่ะ"]
# Emoji that say the same, so that one may stand for another.
EMOJI = ["😊😀😁😄🙂☺", "😍🥰😘❤💕💖", "👍👏🙏💯", "😡😠🤬😤", "😭😢😞😔", "😂🤣😆", "🙄😒😑"]
ALIKE = {emoji: group for group in EMOJI for emoji in group}
# Rows of the Kedmanee keyboard, and each key's neighbours.
ROWS = ["ภถุึคตจขช", "ๆไำพะัีรนยบล", "ฟหกดเ้่าสวง", "ผปแอิืทมใฝ"]
BESIDE = {key: row[max(at - 1, 0):at] + row[at + 1:at + 2] for row in ROWS for at, key in enumerate(row)}


def stretch(text: str, rng: random.Random) -> str:
    endings = list(ENDING.finditer(text))
    if not endings:
        return text
    at = rng.choice(endings).end()
    return text[:at] + text[at - 1] * rng.randint(1, 3) + text[at:]


def drop_tones(text: str, rng: random.Random) -> str:
    share = rng.choice([0.2, 0.5, 1.0])
    return TONES.sub(lambda tone: "" if rng.random() < share else tone[0], text)


def spaces(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return re.sub(r"(?<=[ก-๙]) (?=[ก-๙])", "", text)
    places = [m.start() for m in re.finditer(r"(?<=[ก-ฮะา])(?=[เแโใไ])", text)]
    for at in sorted(rng.sample(places, min(len(places), 2)), reverse=True):
        text = f"{text[:at]} {text[at:]}"
    return text


def swap_emoji(text: str, rng: random.Random) -> str:
    if rng.random() < 0.3:
        return "".join(ch for ch in text if ch not in ALIKE) or text
    return "".join(rng.choice(ALIKE[ch]) if ch in ALIKE else ch for ch in text)


def drop_links(text: str, rng: random.Random) -> str:
    return MASKS.sub(" ", text).strip() or text


def drop_hashtags(text: str, rng: random.Random) -> str:
    return HASHTAG.sub(" ", text).strip() or text


def add_link(text: str, rng: random.Random) -> str:
    return f"{text} <url>"


def slip(text: str, rng: random.Random) -> str:
    letters = [at for at, ch in enumerate(text) if ch in BESIDE]
    if len(letters) < 8:
        return text
    at = rng.choice(letters)
    kind = rng.random()
    wrong = rng.choice(BESIDE[text[at]]) if kind < 0.5 else "" if kind < 0.8 else text[at] * 2
    return text[:at] + wrong + text[at + 1:]


def particles(text: str, rng: random.Random) -> str:
    if PARTICLE.search(text):
        return PARTICLE.sub(lambda _: rng.choice([*PARTICLES, ""]), text) or text
    return text + rng.choice(PARTICLES) if THAI.match(text[-1:]) else text


# With what probability each is done. Links so often, because 96 % of the training texts with one are neutral.
CHANGES = [
    (stretch, 0.10), (drop_tones, 0.08), (spaces, 0.10), (swap_emoji, 0.30), (drop_links, 0.35),
    (drop_hashtags, 0.20), (add_link, 0.04), (slip, 0.08), (particles, 0.10),
]


def noised(texts: list[str], rng: random.Random, scale: float = 1.0) -> list[str]:
    """The texts, each changed at random, as the model is given them."""
    def change(text: str) -> str:
        for alter, probability in CHANGES:
            if rng.random() < probability * scale:
                text = alter(text, rng)
        return text

    return normalized([change(text) for text in texts])
