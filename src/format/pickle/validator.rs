//! Validates a pickle before serde-pickle runs it: executes its opcodes on the types of the values.
//!
//! serde-pickle has no limits: 52 bytes that double a tuple repeatedly take 1.3 GB, 44 levels overflow a 64 KiB stack, and
//! each MARK allocates 4 KiB. Therefore only the opcodes that Python writes for plain values are accepted: not DUP, POP or
//! opcodes that name or call code, and only strings and bytes from the memo. This also rejects some real pickles: sets,
//! bytes in protocol 2 (a call of `_codecs.encode`), integers beyond 64 bits, and a list, tuple or dict with two
//! references.

use std::collections::HashMap;

use super::opcode as op;
use crate::map::{Budget, MAX_DEPTH, OverBudget};

/// The size of a value in serde-pickle 1.2, on 64 bits.
const VALUE_SIZE: usize = 40;

/// The memory of a value on the stack: 1.5 times its size, because the stack doubles its capacity when it is full.
const ITEM_COST: usize = VALUE_SIZE * 3 / 2;

/// The memory of a tuple, list or dict that began with MARK: serde-pickle reserves capacity for 128 values.
const MARKED_COST: usize = 128 * VALUE_SIZE;

/// The memory of a list or dict when it first grows: capacity for four pairs.
const GROWTH_COST: usize = 8 * VALUE_SIZE;

/// The memory of a memo entry: its index, the value and a count, in a B-tree node that is about half full.
const MEMO_COST: usize = 96;

/// The memory of a string or bytes in addition to the content: a `Vec` grows by at least 32 bytes.
const TEXT_COST: usize = 64;

/// The opcode for which a pickle is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} (opcode 0x{opcode:02x}) at byte {at}: {reason}", op::name(*opcode))]
pub(super) struct Refused {
    pub(super) opcode: u8,
    /// The offset of the opcode in the payload.
    pub(super) at: usize,
    pub(super) reason: Reason,
}

/// Why a pickle is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("a pickle must begin with PROTO and a protocol from 2 to 5")]
    Protocol,
    #[error("not an opcode of plain values; it may run code")]
    NotPlain,
    #[error("the payload ends inside the pickle")]
    Truncated,
    #[error("not enough values on the stack")]
    Underflow,
    #[error("there is no {0} to add the value to")]
    NoContainer(&'static str),
    #[error("a key without a value")]
    OddEntries,
    #[error("nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("an integer beyond 64 bits")]
    LargeInteger,
    #[error("a memo entry is written twice")]
    MemoTwice,
    #[error("only strings and bytes may have two references")]
    Shared,
    #[error("STOP must follow exactly one value, at the end")]
    Stop,
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

/// Returns `Ok` if and only if `payload` is one pickle of one plain value, nested at most [`MAX_DEPTH`] deep, that fits into
/// `budget`. Charges the memory of serde-pickle to the budget.
pub(super) fn validate(payload: &[u8], budget: &Budget) -> Result<(), Refused> {
    let mut validator = Validator { rest: payload, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), budget };
    if !matches!(payload, [op::PROTO, 2..=5, ..]) {
        let opcode = payload.first().copied().unwrap_or(op::STOP);
        return Err(Refused { opcode, at: 0, reason: Reason::Protocol });
    }
    validator.rest = &payload[2..];
    loop {
        let at = payload.len() - validator.rest.len();
        let Some((&opcode, rest)) = validator.rest.split_first() else {
            return Err(Refused { opcode: op::STOP, at, reason: Reason::Truncated });
        };
        validator.rest = rest;
        validator.step(opcode).map_err(|reason| Refused { opcode, at, reason })?;
        if opcode == op::STOP {
            return Ok(());
        }
    }
}

/// The stack machine, with the types of values in place of the values.
struct Validator<'p> {
    rest: &'p [u8],
    stack: Vec<Item>,
    /// The height of the stack at each open MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Shape>,
    budget: &'p Budget,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    shape: Shape,
    /// 0 for a scalar, 1 for a list of scalars, and so on: TUPLE1 increases the depth without a higher stack.
    depth: usize,
    memoized: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A string or bytes, with the length in bytes.
    Text(usize),
    /// None, a boolean or a number.
    Plain,
    List,
    Tuple,
    Dict,
}

impl Validator<'_> {
    fn step(&mut self, opcode: u8) -> Result<(), Reason> {
        match opcode {
            op::FRAME => self.skip(8),
            op::NONE | op::NEWTRUE | op::NEWFALSE => self.push(Shape::Plain, 0),
            op::BININT1 => self.number(1),
            op::BININT2 => self.number(2),
            op::BININT => self.number(4),
            op::BINFLOAT => self.number(8),
            op::LONG1 => self.long(),
            op::SHORT_BINUNICODE | op::SHORT_BINBYTES => self.text(1),
            op::BINUNICODE | op::BINBYTES => self.text(4),
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => self.text(8),
            op::EMPTY_LIST => self.push(Shape::List, 1),
            op::EMPTY_TUPLE => self.push(Shape::Tuple, 1),
            op::EMPTY_DICT => self.push(Shape::Dict, 1),
            // The values above an open MARK become a container above the previous MARK: the depth bounds the number of MARKs.
            op::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::TUPLE1 => self.tuple(1),
            op::TUPLE2 => self.tuple(2),
            op::TUPLE3 => self.tuple(3),
            op::TUPLE => self.build_marked(Shape::Tuple),
            op::LIST => self.build_marked(Shape::List),
            op::DICT => self.build_marked(Shape::Dict),
            op::APPEND => {
                let depth = self.pop(1)?;
                self.grow(Shape::List, depth)
            }
            op::SETITEM => {
                let depth = self.pop(2)?;
                self.grow(Shape::Dict, depth)
            }
            op::APPENDS => {
                let (_, depth) = self.pop_marked()?;
                self.grow(Shape::List, depth)
            }
            op::SETITEMS => {
                let (count, depth) = self.pop_marked()?;
                if count % 2 == 1 {
                    return Err(Reason::OddEntries);
                }
                self.grow(Shape::Dict, depth)
            }
            // The index is the length of the memo, as in serde-pickle and Python.
            op::MEMOIZE => self.memoize(u32::try_from(self.memo.len()).map_err(|_| Reason::MemoTwice)?),
            op::BINPUT | op::LONG_BINPUT => {
                let index = self.memo_index(opcode == op::LONG_BINPUT)?;
                self.memoize(index)
            }
            op::BINGET | op::LONG_BINGET => {
                let index = self.memo_index(opcode == op::LONG_BINGET)?;
                self.recall(index)
            }
            op::STOP if self.rest.is_empty() && self.marks.is_empty() && self.stack.len() == 1 => Ok(()),
            op::STOP => Err(Reason::Stop),
            _ => Err(Reason::NotPlain),
        }
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Reason::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, len: usize) -> Result<(), Reason> {
        self.take(len).map(drop)
    }

    /// Reads a little-endian number of `width` bytes, at most eight.
    fn length(&mut self, width: usize) -> Result<u64, Reason> {
        Ok(self.take(width)?.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }

    fn push(&mut self, shape: Shape, depth: usize) -> Result<(), Reason> {
        // The map itself is at depth 1.
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        self.budget.charge(ITEM_COST)?;
        self.stack.push(Item { shape, depth, memoized: false });
        Ok(())
    }

    fn number(&mut self, width: usize) -> Result<(), Reason> {
        self.skip(width)?;
        self.push(Shape::Plain, 0)
    }

    /// Reads a little-endian two's complement of any length; serde-pickle pads a u64 to nine bytes.
    fn long(&mut self) -> Result<(), Reason> {
        let len = usize::from(self.take(1)?[0]);
        let bytes = self.take(len)?;
        let (number, padding) = bytes.split_at(len.min(8));
        let sign = if number.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        if padding.iter().any(|byte| *byte != sign) {
            return Err(Reason::LargeInteger);
        }
        self.push(Shape::Plain, 0)
    }

    fn text(&mut self, width: usize) -> Result<(), Reason> {
        let len = usize::try_from(self.length(width)?).map_err(|_| Reason::Truncated)?;
        self.skip(len)?;
        self.budget.charge(TEXT_COST)?;
        self.push(Shape::Text(len), 0)
    }

    /// Removes the topmost `count` values, none of them below an open MARK, and returns the largest depth.
    fn pop(&mut self, count: usize) -> Result<usize, Reason> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let kept = self.stack.len().checked_sub(count).filter(|kept| *kept >= floor).ok_or(Reason::Underflow)?;
        Ok(self.stack.drain(kept..).map(|item| item.depth).max().unwrap_or(0))
    }

    /// Removes the topmost MARK and all values above it. Returns their number and the largest depth.
    fn pop_marked(&mut self) -> Result<(usize, usize), Reason> {
        let count = self.stack.len() - self.marks.last().ok_or(Reason::Underflow)?;
        let depth = self.pop(count)?;
        self.marks.pop();
        Ok((count, depth))
    }

    fn tuple(&mut self, count: usize) -> Result<(), Reason> {
        let depth = self.pop(count)?;
        self.budget.charge(count * ITEM_COST)?;
        self.push(Shape::Tuple, depth + 1)
    }

    fn build_marked(&mut self, shape: Shape) -> Result<(), Reason> {
        let (count, depth) = self.pop_marked()?;
        if shape == Shape::Dict && count % 2 == 1 {
            return Err(Reason::OddEntries);
        }
        self.budget.charge(MARKED_COST)?;
        self.push(shape, depth + 1)
    }

    /// Adds values of depth `depth` to the container on top of the stack.
    fn grow(&mut self, shape: Shape, depth: usize) -> Result<(), Reason> {
        self.budget.charge(GROWTH_COST)?;
        let floor = self.marks.last().copied().unwrap_or(0);
        let name = if shape == Shape::List { "list" } else { "dict" };
        let container = self.stack[floor..].last_mut().filter(|item| item.shape == shape);
        let container = container.ok_or(Reason::NoContainer(name))?;
        container.depth = container.depth.max(depth + 1);
        if container.depth > MAX_DEPTH { Err(Reason::TooDeep) } else { Ok(()) }
    }

    fn memo_index(&mut self, long: bool) -> Result<u32, Reason> {
        u32::try_from(self.length(if long { 4 } else { 1 })?).map_err(|_| Reason::Truncated)
    }

    /// Stores the value on top in the memo. Python stores each value once, and writes each index once. Otherwise
    /// serde-pickle would copy the value, or replace it while it is referenced.
    fn memoize(&mut self, index: u32) -> Result<(), Reason> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let item = self.stack[floor..].last_mut().ok_or(Reason::Underflow)?;
        if item.memoized || self.memo.insert(index, item.shape).is_some() {
            return Err(Reason::MemoTwice);
        }
        item.memoized = true;
        Ok(self.budget.charge(MEMO_COST)?)
    }

    fn recall(&mut self, index: u32) -> Result<(), Reason> {
        let Some(shape @ Shape::Text(len)) = self.memo.get(&index).copied() else {
            return Err(Reason::Shared);
        };
        self.budget.charge(len + TEXT_COST)?;
        self.push(shape, 0)?;
        if let Some(item) = self.stack.last_mut() {
            item.memoized = true;
        }
        Ok(())
    }
}
