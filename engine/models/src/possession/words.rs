//! Steps and states in words.

use super::{Action, State};

pub(super) fn tell(action: Action) -> String {
    match action {
        Action::Open(process, volume) => {
            format!("process {process} opens the database of volume {volume}")
        }
        Action::Read(process) => format!("process {process} reads the next slot"),
        Action::Take(process, slot) => {
            format!("process {process} takes slot #{slot} from the bus")
        }
        Action::Submit(process) => format!("process {process} submits its transaction"),
        Action::Offer(process) => format!("process {process} offers it"),
        Action::Write(process, other) => match other {
            Some(other) => {
                format!(
                    "process {process} writes the next slot, with the transaction of process {other}"
                )
            }
            None => format!("process {process} writes the next slot"),
        },
        Action::Hear(process) => {
            format!("process {process} hears that its transaction is committed")
        }
        Action::Copy => "volume 0 is copied".to_owned(),
        Action::Clone => "the copy becomes volume 1".to_owned(),
        Action::SetBack => "volume 0 becomes what the copy is".to_owned(),
    }
}

pub(super) fn show(state: &State) -> String {
    let mut lines: Vec<String> = state
        .volumes
        .iter()
        .enumerate()
        .filter_map(|(volume, log)| Some(format!("volume {volume}: {:?}", log.as_ref()?)))
        .collect();
    for (process, seat) in state.processes.iter().enumerate() {
        if let Some(seat) = seat {
            lines.push(format!(
                "process {process} at volume {}, opened at {}: {:?}",
                seat.volume, seat.opened, seat.chain
            ));
        }
    }
    for (process, transaction) in state.transactions.iter().enumerate() {
        if transaction.home.is_some() {
            lines.push(format!("transaction of process {process}: {transaction:?}"));
        }
    }
    lines.join("\n     ")
}
