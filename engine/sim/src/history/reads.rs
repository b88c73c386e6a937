//! What a transaction read of others, told from what it read of itself.

use super::transaction::{Key, Operation, ShownList, ShownValue, Transaction};

/// A transaction's first read of a list. Later reads add nothing, if the transaction is
/// consistent in itself.
#[derive(Clone, Copy)]
pub(super) struct ListRead<'h> {
    pub(super) reader: usize,
    pub(super) list: u64,
    /// All that it showed.
    pub(super) values: &'h [u64],
    /// How many of the values come from before the transaction; the others are its own.
    pub(super) external: usize,
}

/// A transaction's first read of a register, unless it had written it before.
#[derive(Clone, Copy)]
pub(super) struct RegisterRead {
    pub(super) reader: usize,
    pub(super) register: u64,
    pub(super) value: Option<u64>,
}

/// Everything that transactions read of others.
#[derive(Default)]
pub(super) struct Reads<'h> {
    pub(super) lists: Vec<ListRead<'h>>,
    pub(super) registers: Vec<RegisterRead>,
}

/// What a transaction has to find at a key from now on.
enum Known<'h> {
    /// The list as last read, if it was, and the own appends since.
    List(Option<&'h [u64]>, Vec<u64>),
    Register(Option<u64>),
}

impl<'h> Reads<'h> {
    /// Adds what this transaction read of others, up to where it contradicts itself.
    ///
    /// # Errors
    /// How it contradicts itself.
    pub(super) fn add(&mut self, reader: usize, of: &'h Transaction) -> Result<(), String> {
        // A transaction touches few keys: a walk beats a map.
        let mut known: Vec<(Key, Known<'h>)> = Vec::new();
        for (at, operation) in of.operations.iter().enumerate() {
            let key = operation.key();
            let place = known.iter().position(|(own, _)| *own == key);
            let place = place.map(|place| &mut known[place].1);
            let later = &of.operations[at..];
            match operation {
                Operation::Append { value, .. } => match place {
                    Some(Known::List(_, own)) => own.push(*value),
                    _ => known.push((key, Known::List(None, vec![*value]))),
                },
                Operation::Write { value, .. } => match place {
                    Some(state) => *state = Known::Register(Some(*value)),
                    None => known.push((key, Known::Register(Some(*value)))),
                },
                Operation::ReadList { list, values } => {
                    if let Some(Known::List(last, own)) = place {
                        list_holds(key, *last, own, values)?;
                        if last.is_none() {
                            let external = values.len() - own.len();
                            self.add_list(reader, *list, values, external, later)?;
                        }
                        *last = Some(values);
                        own.clear();
                    } else {
                        self.add_list(reader, *list, values, values.len(), later)?;
                        known.push((key, Known::List(Some(values), Vec::new())));
                    }
                }
                Operation::ReadRegister { register, value } => {
                    if let Some(Known::Register(expected)) = place {
                        register_holds(key, *expected, *value)?;
                    } else {
                        self.add_register(reader, *register, *value, later)?;
                        known.push((key, Known::Register(*value)));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_list(
        &mut self,
        reader: usize,
        list: u64,
        values: &'h [u64],
        external: usize,
        later: &[Operation],
    ) -> Result<(), String> {
        let key = Key::List(list);
        if let Some(value) = own_later(key, later, |value| values[..external].contains(&value)) {
            return Err(format!("it read its append of {value} to {key} before it"));
        }
        self.lists.push(ListRead {
            reader,
            list,
            values,
            external,
        });
        Ok(())
    }

    fn add_register(
        &mut self,
        reader: usize,
        register: u64,
        value: Option<u64>,
        later: &[Operation],
    ) -> Result<(), String> {
        let key = Key::Register(register);
        if let Some(value) = own_later(key, later, |own| Some(own) == value) {
            return Err(format!("it read its write of {value} to {key} before it"));
        }
        self.registers.push(RegisterRead {
            reader,
            register,
            value,
        });
        Ok(())
    }
}

/// A value that the transaction writes to the key later and has seen already.
fn own_later(key: Key, later: &[Operation], seen: impl Fn(u64) -> bool) -> Option<u64> {
    let own = later.iter().filter(|operation| operation.key() == key);
    own.filter_map(Operation::written)
        .find(|value| seen(*value))
}

fn list_holds(key: Key, last: Option<&[u64]>, own: &[u64], values: &[u64]) -> Result<(), String> {
    let begins = match last {
        Some(last) => values.strip_suffix(own) == Some(last),
        None => values.ends_with(own),
    };
    if begins {
        return Ok(());
    }
    let (values, own) = (ShownList(values), ShownList(own));
    Err(match last.map(ShownList) {
        Some(last) => format!("it read {key} as {last}, appended {own}, and then read {values}"),
        None => format!("it appended {own} to {key} and then read {values}"),
    })
}

fn register_holds(key: Key, expected: Option<u64>, value: Option<u64>) -> Result<(), String> {
    if expected == value {
        return Ok(());
    }
    Err(format!(
        "it read or wrote {} in {key}, and then read {}",
        ShownValue(expected),
        ShownValue(value)
    ))
}
