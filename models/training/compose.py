"""Composes customer texts of our own, for what the labelled corpus lacks.

    python compose.py

Writes work/composed.jsonl: 9,000 different rows `{"text", "label", "kind"}`, always the same. `label` is null where
the construction does not settle it; the teacher decides those. The clauses stand in compose_domains.toml, by what
they are about, and in compose_phrases.toml, by phenomenon. Clauses joined in one text are of one domain.
"""

import argparse
import json
import random
import re
import tomllib
from collections import Counter

from paths import TRAINING, WORK

ROWS = 9_000
SEED = 2569
SHARES = {"positive": 0.30, "neutral": 0.25, "negative": 0.30, "question": 0.06, None: 0.09}
# Letters from and below, and how many clauses fill them; a third of the texts each.
SIZES = {"short": (2, 30, (1, 1)), "medium": (30, 90, (1, 3)), "long": (90, 350, (3, 7))}
# How often a text of a label is of a kind.
KINDS = {
    "positive": {"opinion": 40, "praise": 6, "contrast": 6, "change": 5, "negation": 7, "comparison": 4, "thanks": 6,
                 "slang": 9, "code": 4, "isan": 4, "northern": 3, "southern": 3, "call": 7},
    "negative": {"opinion": 34, "praise": 5, "contrast": 6, "change": 5, "negation": 7, "comparison": 4, "thanks": 4,
                 "sarcasm": 5, "gripe": 12, "slang": 9, "code": 4, "isan": 4, "northern": 3, "southern": 3, "call": 9},
    "neutral": {"fact": 22, "wish": 14, "line": 16, "ad": 26, "greeting": 12, "code": 3, "isan": 2, "northern": 2,
                "southern": 2, "call": 8},
    "question": {"ask": 70, "code": 5, "isan": 4, "northern": 4, "southern": 4, "call": 15},
    None: {"mixed": 50, "lukewarm": 14, "negation": 8, "comparison": 8, "against": 10, "praised": 16},
}
BANK = {"positive": "good", "negative": "bad"}
DIALECTS = {"isan", "northern", "southern"}
# Domains one calls a counter or a call centre about.
CALLED = ["bank", "telecom", "insurance", "airline", "hotel", "hospital", "parcel", "delivery", "car", "gym", "school"]

# How somebody ends statements and questions.
SPEAKERS = [
    (["ค่ะ", "ค่ะ", "ค่ะ", "นะคะ", "นะคะ", "ค่า", "คะ"], ["คะ", "คะ", "ค่ะ", "คะเนี่ย"]),
    (["ครับ", "ครับ", "นะครับ", "คับ"], ["ครับ", "ครับ", "คับ", "ครับเนี่ย"]),
    (["", "", "", "", "นะ", "อะ"], ["", "", "อะ", "เนี่ย"]),
    (["", "", ""], ["", "?", "??"]),
]
ENDED = re.compile(r"(?:ค่ะ|คะ|ค่า|ครับ|คับ|จ้า|นะ|อะ|เนี่ย|เนี่ยนะ|เหรอ|[^ก-๙A-Za-z]|แม่|จ้ะ)$")
# Sentences of the phrases that are about something of their own: no clause of another domain goes with them.
TOPICAL = re.compile("กิน|อร่อย|รส|หมู|ส้มตำ|จิ้ม|บุฟเฟต์|ชุด|ใส่|ทา|ครีม|สกิน|หน้า|ผิว|ผม|กลิ่น|กล้อง|แบต|เครื่อง|ชาร์จ|แอป|เกม"
                     "|เน็ต|เว็บ|ห้อง|โรงแรม|พัก|ร้าน|ช่าง|ไรเดอร์|แม่ค้า|พรี|สั่ง|ส่ง|ของ|คอร์ส|ระบบ|แชต|รองเท้า|แอร์|โปร|แก้ว|โทร"
                     "|ซื้อ|ขาย|พนักงาน|คอล|รีวิว|ซ่อม|นัด|แมลง|น้ำ|คนคุย|ลื่น|ลุค|[A-Za-z]{3}")
JOINTS = [" ", " ", " ", " ", " แถม", " แล้วก็", " อีกอย่าง", " "]
EMOJI = {
    "positive": ["😊", "😍", "🥰", "👍", "❤️", "💕", "✨", "👏", "🙏", "😋"],
    "negative": ["😡", "😠", "😤", "😞", "😢", "👎", "🙄", "😑", "💔", "🤬"],
    "neutral": ["😊", "🙏", "📍", "✨", "📦", "👇"],
    "question": ["🙏", "😊", "🤔"],
}
# Emoji against the words, as people do use them: tears of joy, the smile that is none.
AGAINST = {"positive": ["😭", "🥹", "😂", "🤤"], "negative": ["😂", "🙂", "🙃", "🥲", "👏"]}
HASHTAGS = ["#รีวิว", "#บอกต่อ", "#ลูกค้า", "#ประสบการณ์", "#พันทิป", "#รีวิวจากผู้ใช้จริง", "#วันนี้"]
SLIPS = [("แ", "เเ"), ("ก็", "ก้อ"), ("ก็", "ก้"), ("ไหม", "มั้ย"), ("ไหม", "มัย"), ("ครับ", "คับ"), ("นี้", "นี้้"),
         ("ไม่", "ไม่่"), ("ได้", "ได้้"), ("แล้ว", "เเล้ว"), ("เลย", "เรย"), ("อร่อย", "อร่อน"),
         ("บริการ", "บริกาน"), ("สั่ง", "สัง"), ("ส่ง", "สง"), ("ทำไม", "ทามมาย"), ("อีก", "อิก")]
STRETCHED = re.compile(r"(มาก|เลย|สุด|แพง|ช้า|อร่อย|แย่|ดี|จริง|นาน)(?=\s|$)")
TONES = re.compile("[่-๋]")


def read(name: str) -> dict[str, dict[str, list[str]]]:
    with open(TRAINING / name, "rb") as file:
        return {section: {key: lines.split("\n")[:-1] for key, lines in banks.items()}
                for section, banks in tomllib.load(file).items()}


class Composer:
    """Writes one text after the other; each has a speaker and a domain."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.domains = read("compose_domains.toml")
        self.phrases = read("compose_phrases.toml")

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, lines: list[str]) -> str:
        return self.rng.choice(lines)

    def phrase(self, section: str, label: str | None) -> str:
        return self.fill(self.pick(self.phrases[section][label or "null"]))

    def fill(self, text: str) -> str:
        """Slots filled; no two alike, and the words of {s2} not those of {s}."""
        (s, good, bad), (s2, good2, bad2) = (line.split("|") for line in self.rng.sample(self.domain["words"], 2))
        # A call is polite throughout.
        polite = ("ครับ", "ครับ") if "ครับ" in self.ends else ("ค่ะ", "คะ")
        words = {"s": s, "good": good, "bad": bad, "s2": s2, "good2": good2, "bad2": bad2,
                 "p": polite[0], "q": polite[1], "place": self.place, "here": self.place}
        slots = {name: self.rng.sample(lines, len(lines)) for name, lines in self.phrases["slots"].items()}
        return re.sub(r"\{(\w+)\}", lambda slot: words.get(slot[1]) or slots[slot[1]].pop(), text)

    def end(self, text: str) -> str:
        return self.ended(text, self.ends)

    def end_question(self, text: str) -> str:
        return self.ended(text, self.question_ends)

    def ended(self, text: str, particles: list[str]) -> str:
        particle = "" if ENDED.search(text) else self.pick(particles)
        return f"{text} {particle}" if particle and text[-1].isascii() else text + particle

    def clauses(self, label: str, size: str) -> list[str]:
        """What is praised or blamed, each clause once."""
        bank = self.domain[BANK[label]]
        chosen = self.rng.sample(bank, self.rng.randint(*SIZES[size][2]))
        if self.chance(0.4):
            chosen[0] = self.phrase("frames", label)
        return chosen

    def joined(self, clauses: list[str]) -> str:
        text = clauses[0]
        for clause in clauses[1:]:
            # Particles within a longer text, now and then.
            text = (self.end(text) + " " if self.chance(0.2) else text + self.pick(JOINTS)) + clause
        return text

    def verdict(self, text: str, label: str, probability: float) -> str:
        return f"{text} {self.phrase('praise', label)}" if self.chance(probability) else text

    def opinion(self, label: str, size: str) -> str:
        text = self.joined(self.clauses(label, size))
        if self.chance(0.35):
            text = f"{self.place} {text}"
        elif size != "short" and self.chance(0.15):
            text = self.fill(self.pick(["อยู่{province} ", "คน{province} ", "{province} "])) + text
        return self.end(self.verdict(text, label, 0 if size == "short" else 0.35))

    def contrast(self, label: str, size: str) -> str:
        """What is granted first, and what counts after."""
        bare = size == "short" or self.chance(0.3)
        main = self.phrase("praise", label) if bare else self.joined(self.clauses(label, size))
        return self.end(self.verdict(self.phrase("contrast", label) + main, label, 0.3))

    def whole(self, kind: str, label: str | None, size: str) -> str:
        """A sentence of the bank, in a longer text with an opinion or a verdict after it."""
        text = self.phrase(kind, label)
        if label in BANK and size == "long":
            if TOPICAL.search(text):
                return self.end(" ".join([text, *self.rng.sample(self.phrases["praise"][label], 4)]))
            text = f"{text} {self.joined(self.clauses(label, size))}"
            if self.place not in text:
                text = f"{self.place} {text}"
        elif label in BANK and size == "medium":
            text = self.verdict(text, label, 0.6)
        return self.end(text)

    def thanks(self, label: str, size: str) -> str:
        reason = self.pick(self.domain["kind" if label == "positive" else "fail"])
        start = self.pick(["ขอบคุณที่", f"ขอบคุณ{self.place}ที่", "ขอบคุณมากๆ ที่", "ขอบใจที่"])
        text = self.end(start + reason)
        if label == "negative":
            text += self.pick(["", " เก่งมาก", " ซึ้งใจจริงๆ", " ประทับใจจนจะไม่มาอีก", " 🙃", " 👏👏"])
        return f"{text} {self.joined(self.clauses(label, size))}" if size == "long" else text

    def gripe(self, label: str, size: str) -> str:
        text = self.end_question(self.pick(self.domain["gripe"]))
        if size == "short":
            return text
        extra = self.joined(self.clauses(label, size))
        return self.pick([f"{text} {extra}", f"{extra} {text}"]) if size == "long" or self.chance(0.6) else text

    def call(self, label: str, size: str) -> str:
        self.ends, self.question_ends = self.rng.choice([(["ค่ะ", "นะคะ"], ["คะ"]), (["ครับ", "นะครับ"], ["ครับ"])])
        self.domain = self.domains[self.pick(CALLED)]
        self.place = self.pick(self.domain["places"])
        if label in BANK:
            said = self.clauses(label, size)
        else:
            said = self.rng.sample(self.domain["fact"], self.rng.randint(1, 2 if size == "medium" else 4))
            said += [self.pick(self.domain["wish"])] if label == "neutral" else []
        opening = self.fill(self.pick(self.phrases["call"]["open"]))
        first, *rest = (self.end(part) for part in said)
        text = " ".join([opening, first, *(self.pick(["", "", "แล้วก็", "ก็คือ", "เอ่อ "]) + part for part in rest)])
        if label == "question":
            asked = self.end_question(self.pick(self.domain["ask"]))
            text += " " + self.pick(["อยากทราบว่า", "ขอถามว่า", "ไม่ทราบว่า"]) + asked
        return f"{text} {self.phrase('call', label)}" if size == "long" else text

    def fact(self, label: str, size: str) -> str:
        few, many = SIZES[size][2]
        said = self.rng.sample(self.domain["fact"], self.rng.randint(few, min(many, 6)))
        text = " ".join(self.end(part) if self.chance(0.3) else part for part in said)
        if self.chance(0.15):
            text = self.fill("อยู่{province} ") + text
        return self.end(text)

    def wish(self, label: str, size: str) -> str:
        said = self.end(self.pick(self.domain["wish"]))
        return said if size == "short" else self.fact(label, size) + " " + said

    def line(self, label: str, size: str) -> str:
        """A turn of a chat: greeting, facts, a request."""
        parts = [self.end(self.pick(self.phrases["greeting"]["neutral"][:3])), self.end(self.pick(self.domain["wish"]))]
        if size != "short":
            parts.insert(1, self.fact(label, size))
        if self.chance(0.5):
            parts.append(self.end(self.pick(["ขอบคุณ", "รบกวนด้วย", "ตามนี้", "ฝากด้วย"])))
        return " ".join(parts)

    def ad(self, label: str, size: str) -> str:
        if size != "long":
            return self.phrase("ad", label)
        lines = [self.fill(line) for line in self.rng.sample(self.phrases["ad"][label], self.rng.randint(2, 4))]
        head = self.pick(["", "ข่าวสั้นวันนี้ ", "ประชาสัมพันธ์ ", "สรุปข่าว "])
        return head + self.pick([" / ", " • ", " | "]).join(lines)

    def ask(self, label: str, size: str) -> str:
        asked = self.rng.sample(self.domain["ask"], 1 if size == "short" else self.rng.randint(1, 3))
        text = " ".join(self.end_question(part) for part in asked)
        if size != "short" and self.chance(0.7):
            text = self.end(self.pick(["สอบถามหน่อย", "สวัสดี", "รบกวนถาม", "ขอสอบถาม", "แอดมิน"])) + " " + text
        if size == "long":
            text = self.fact(label, "medium") + " " + text + " " + self.end("ขอบคุณล่วงหน้า")
        return f"{self.place} {text}" if size == "short" and self.chance(0.2) else text

    def mixed(self, label: None, size: str) -> str:
        if size == "short" or (size == "medium" and self.chance(0.5)):
            return self.end(self.phrase("frames", None))
        halves = [self.joined(self.rng.sample(self.domain[bank], self.rng.randint(1, 3))) for bank in BANK.values()]
        self.rng.shuffle(halves)
        return self.end(f"{self.place} {halves[0]} {self.pick(['แต่', 'แต่ว่า', 'แต่อีกด้าน '])}{halves[1]}")

    def against(self, label: None, size: str) -> str:
        """Praise under a rolling eye: meant or not?"""
        return self.opinion("positive", size) + " " + self.pick(["🙄", "🙃", "😒", "😑", "มั้ง", "(เขาว่ากัน)"])

    def praised(self, label: None, size: str) -> str:
        """Praise or blame, then an enquiry."""
        side = self.pick(list(BANK))
        said = self.phrase("praise", side) if size == "short" else self.joined(self.clauses(side, size))
        return f"{self.end(said)} {self.end_question(self.pick(self.domain['ask']))}"

    def compose(self, kind: str, label: str | None, size: str) -> str:
        self.ends, self.question_ends = self.rng.choice(SPEAKERS)
        if kind in DIALECTS:
            self.ends = [""]
        self.domain = self.rng.choice(list(self.domains.values()))
        self.place = self.pick(self.domain["places"])
        if kind in DIALECTS:
            text = self.phrase(kind, label)
            if label in BANK and size == "medium":
                text += " " + self.phrase(kind, f"{label}_end")
        elif hasattr(self, kind):
            text = getattr(self, kind)(label, size)
        else:
            text = self.whole(kind, label, size)
        return self.surface(text, label, kind)

    def surface(self, text: str, label: str | None, kind: str) -> str:
        """Stretched letters, slips, emoji, laughter, hashtags and links; what is no feeling as often in every label."""
        if kind == "call":
            return text
        if self.chance(0.10):
            text = STRETCHED.sub(lambda word: word[0] + word[0][-1] * self.rng.randint(2, 5), text, count=1)
        if self.chance(0.10):
            text = text.replace(*self.rng.choice(SLIPS), 1)
        if self.chance(0.04):
            text = TONES.sub(lambda tone: "" if self.chance(0.5) else tone[0], text)
        if label and self.chance(0.20 if label in BANK else 0.10):
            opposed = label in AGAINST and self.chance(0.15)
            emoji = self.pick((AGAINST if opposed else EMOJI)[label])
            text += self.pick(["", " "]) + emoji * self.rng.choice([1, 1, 1, 2, 3])
        if self.chance(0.03):
            text += " " + "5" * self.rng.randint(3, 6)
        if self.chance(0.06):
            text += " " + self.pick(HASHTAGS)
        if self.chance(0.08):
            link = "".join(self.rng.choices("abcdefghkmnpqrstuvwxyz23456789", k=6))
            text += f" https://{self.pick(['lin.ee', 'bit.ly', 'youtu.be', 'shope.ee'])}/{link}"
        return text


def composed(seed: int) -> list[dict]:
    """So many different rows `text`, `label`, `kind`."""
    composer = Composer(random.Random(seed))
    rows: dict[str, tuple[str | None, str]] = {}
    for label, share in SHARES.items():
        for size, (shortest, longest, _) in SIZES.items():
            wanted = len(rows) + round(ROWS * share / len(SIZES))
            while len(rows) < wanted:
                [kind] = composer.rng.choices(list(KINDS[label]), list(KINDS[label].values()))
                text = composer.compose(kind, label, size)
                if shortest <= len(text) < longest:
                    rows.setdefault(text, (label, kind))
    rows = [{"text": text, "label": label, "kind": kind} for text, (label, kind) in rows.items()]
    composer.rng.shuffle(rows)
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = composed(SEED)
    WORK.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (WORK / "composed.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines):,} rows -> {WORK / 'composed.jsonl'}: {dict(Counter(row['label'] for row in rows))}")


if __name__ == "__main__":
    main()
