//! The grammar of ECMAScript regular expressions (ECMA-262, section 22.2), without flags and over code points, as far
//! as it is regular: look-around and back-references are refused, because no bound on their cost is known.
//!
//! Follows the grammar's Annex B where that is common in the wild: `]`, and a brace that is no quantifier, stand for
//! themselves. An escaped letter or digit without a meaning is refused.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};
use sealdex_core::limits;

type Parsed<T> = Result<T, &'static str>;

const LOOK_AROUND: &str =
    "look-around is not supported; combine several $regex conditions with $and and $not";
const BACK_REFERENCE: &str = "back-references are not supported; spell the alternatives out";
const BAD_ESCAPE: &str = "the pattern has an unknown escape; a backslash itself is written \\\\";
const NOTHING_TO_REPEAT: &str =
    "the pattern has a quantifier with nothing to repeat; escape it with a backslash";
const OPEN_GROUP: &str =
    "the pattern has a group without its closing parenthesis; a literal one is written \\(";
const STRAY_PARENTHESIS: &str =
    "the pattern closes a group that was not opened; a literal parenthesis is written \\)";
const OPEN_CLASS: &str = "the pattern has a [ without its ]; a literal bracket is written \\[";
const BAD_GROUP: &str = "the pattern has an unknown group; plain groups are written (…), (?:…) or (?<name>…)";
const BAD_RANGE: &str = "the pattern has a range whose end is before its start";
const BAD_COUNT: &str = "the pattern has a quantifier {n,m} whose m is below n or too large";
const TOO_DEEP: &str = "the pattern nests groups too deeply";

const DIGITS: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
const SPACE: &[(char, char)] = &[
    ('\t', '\r'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{feff}', '\u{feff}'),
];
const LINE_ENDS: &[(char, char)] = &[('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')];

/// Reads a whole pattern; an error is a sentence for the client.
pub(super) fn parse(pattern: &str) -> Parsed<Hir> {
    let mut parser = Parser {
        rest: pattern,
        depth: 0,
    };
    let expression = parser.alternatives()?;
    if parser.rest.is_empty() {
        Ok(expression)
    } else {
        Err(STRAY_PARENTHESIS)
    }
}

struct Parser<'p> {
    rest: &'p str,
    depth: usize,
}

/// One character, or a set of them, inside or outside of brackets.
enum Atom {
    One(char),
    Set(ClassUnicode),
}

impl Parser<'_> {
    /// Up to the end or a closing parenthesis.
    fn alternatives(&mut self) -> Parsed<Hir> {
        let mut alternatives = vec![self.sequence()?];
        while self.eat("|") {
            alternatives.push(self.sequence()?);
        }
        Ok(Hir::alternation(alternatives))
    }

    fn sequence(&mut self) -> Parsed<Hir> {
        let mut terms = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            terms.push(self.term()?);
        }
        Ok(Hir::concat(terms))
    }

    fn term(&mut self) -> Parsed<Hir> {
        let assertions = [
            ("^", Look::Start),
            ("$", Look::End),
            ("\\b", Look::WordAscii),
            ("\\B", Look::WordAsciiNegate),
        ];
        if let Some((_, look)) = assertions.into_iter().find(|(text, _)| self.eat(text)) {
            return Ok(Hir::look(look));
        }
        if self.rest.starts_with(['*', '+', '?']) || self.quantifier()?.is_some() {
            return Err(NOTHING_TO_REPEAT);
        }
        let atom = self.atom()?;
        match self.quantifier()? {
            Some((min, max)) => Ok(Hir::repetition(Repetition {
                min,
                max,
                greedy: true,
                sub: Box::new(atom),
            })),
            None => Ok(atom),
        }
    }

    fn atom(&mut self) -> Parsed<Hir> {
        if self.eat("(") {
            return self.group();
        }
        if self.eat("[") {
            return self.class();
        }
        if self.eat(".") {
            return Ok(hir(Atom::Set(outside(LINE_ENDS))));
        }
        if self.eat("\\") {
            return self.escape().map(hir);
        }
        self.next().map(|c| hir(Atom::One(c))).ok_or(NOTHING_TO_REPEAT)
    }

    /// Behind `(`. What a group captured is of no interest.
    fn group(&mut self) -> Parsed<Hir> {
        if ["?=", "?!", "?<=", "?<!"]
            .iter()
            .any(|sign| self.rest.starts_with(sign))
        {
            return Err(LOOK_AROUND);
        }
        if self.eat("?<") {
            let (name, rest) = self.rest.split_once('>').ok_or(BAD_GROUP)?;
            let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
            if name.is_empty() || name.starts_with(|c: char| c.is_numeric()) || !is_name(name) {
                return Err(BAD_GROUP);
            }
            self.rest = rest;
        } else if !self.eat("?:") && self.rest.starts_with('?') {
            return Err(BAD_GROUP);
        }
        self.depth += 1;
        if self.depth > limits::NESTING_MAX {
            return Err(TOO_DEEP);
        }
        let inner = self.alternatives()?;
        self.depth -= 1;
        if self.eat(")") { Ok(inner) } else { Err(OPEN_GROUP) }
    }

    /// `*`, `+`, `?` or `{n,m}`, greedy or lazy: which of the two does not change whether something is found.
    fn quantifier(&mut self) -> Parsed<Option<(u32, Option<u32>)>> {
        let counts = match self.rest.chars().next() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counts(),
            _ => return Ok(None),
        };
        self.rest = &self.rest[1..];
        self.eat("?");
        Ok(Some(counts))
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else behind a brace is no quantifier.
    fn counts(&mut self) -> Parsed<Option<(u32, Option<u32>)>> {
        let Some((inner, rest)) = self.rest[1..].split_once('}') else {
            return Ok(None);
        };
        let (min, max) = inner
            .split_once(',')
            .map_or((inner, Some(inner)), |(min, max)| (min, Some(max)));
        let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let max = max.filter(|max| !max.is_empty());
        if min.is_empty() || !is_count(min) || !max.is_none_or(is_count) {
            return Ok(None);
        }
        self.rest = rest;
        self.eat("?");
        let min = min.parse().map_err(|_| BAD_COUNT)?;
        let max: Option<u32> = max.map(str::parse).transpose().map_err(|_| BAD_COUNT)?;
        if max.is_some_and(|max| max < min) {
            Err(BAD_COUNT)
        } else {
            Ok(Some((min, max)))
        }
    }

    /// Behind `[`.
    fn class(&mut self) -> Parsed<Hir> {
        let negated = self.eat("^");
        let mut class = ClassUnicode::empty();
        while !self.eat("]") {
            let first = self.class_atom()?;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.eat("-");
                match (first, self.class_atom()?) {
                    (Atom::One(first), Atom::One(last)) if first > last => return Err(BAD_RANGE),
                    (Atom::One(first), Atom::One(last)) => class.push(ClassUnicodeRange::new(first, last)),
                    (first, last) => [first, Atom::One('-'), last]
                        .into_iter()
                        .for_each(|atom| add(&mut class, atom)),
                }
            } else {
                add(&mut class, first);
            }
        }
        if negated {
            class.negate();
        }
        Ok(Hir::class(Class::Unicode(class)))
    }

    fn class_atom(&mut self) -> Parsed<Atom> {
        if self.eat("\\b") {
            return Ok(Atom::One('\u{8}'));
        }
        if self.eat("\\") {
            return self.escape();
        }
        self.next().map(Atom::One).ok_or(OPEN_CLASS)
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Parsed<Atom> {
        Ok(Atom::One(match self.next().ok_or(BAD_ESCAPE)? {
            'd' => return Ok(Atom::Set(inside(DIGITS))),
            'D' => return Ok(Atom::Set(outside(DIGITS))),
            'w' => return Ok(Atom::Set(inside(WORD))),
            'W' => return Ok(Atom::Set(outside(WORD))),
            's' => return Ok(Atom::Set(inside(SPACE))),
            'S' => return Ok(Atom::Set(outside(SPACE))),
            't' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            '0' if !self.rest.starts_with(|c: char| c.is_ascii_digit()) => '\0',
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => char::from(letter as u8 % 32),
                _ => return Err(BAD_ESCAPE),
            },
            'x' => char::from_u32(self.hex(2)?).ok_or(BAD_ESCAPE)?,
            'u' => self.unicode()?,
            'k' | '1'..='9' => return Err(BACK_REFERENCE),
            c if c.is_ascii_alphanumeric() => return Err(BAD_ESCAPE),
            c => c,
        }))
    }

    /// Behind `\u`: four digits, two surrogates of four digits each, or digits in braces.
    fn unicode(&mut self) -> Parsed<char> {
        if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or(BAD_ESCAPE)?;
            let code = u32::from_str_radix(digits, 16).map_err(|_| BAD_ESCAPE)?;
            self.rest = rest;
            return char::from_u32(code).ok_or(BAD_ESCAPE);
        }
        let mut units = vec![self.hex(4)? as u16];
        if (0xd800..0xdc00).contains(&units[0]) && self.eat("\\u") {
            units.push(self.hex(4)? as u16);
        }
        let text = String::from_utf16(&units).map_err(|_| BAD_ESCAPE)?;
        text.chars().next().ok_or(BAD_ESCAPE)
    }

    fn hex(&mut self, digits: usize) -> Parsed<u32> {
        let (digits, rest) = self.rest.split_at_checked(digits).ok_or(BAD_ESCAPE)?;
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.rest = rest;
        u32::from_str_radix(digits.ok_or(BAD_ESCAPE)?, 16).map_err(|_| BAD_ESCAPE)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn eat(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }
}

fn hir(atom: Atom) -> Hir {
    match atom {
        Atom::One(c) => Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()),
        Atom::Set(class) => Hir::class(Class::Unicode(class)),
    }
}

fn add(class: &mut ClassUnicode, atom: Atom) {
    match atom {
        Atom::One(c) => class.push(ClassUnicodeRange::new(c, c)),
        Atom::Set(set) => class.union(&set),
    }
}

fn inside(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(
        ranges
            .iter()
            .map(|(first, last)| ClassUnicodeRange::new(*first, *last)),
    )
}

fn outside(ranges: &[(char, char)]) -> ClassUnicode {
    let mut class = inside(ranges);
    class.negate();
    class
}
