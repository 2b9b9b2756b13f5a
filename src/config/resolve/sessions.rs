//! The keys of a listener about resumption -> [`SessionRules`].

use std::sync::Arc;

use super::{Complaint, Resolver, bounds};
use crate::config::model::{self, Text};
use crate::limits::TICKET_SECRET_BYTES_MAX;
use crate::trust::tickets::{TicketKeys, TicketSecret};
use crate::trust::visit::{Resumption, SessionRules};

/// What `resumption` may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Cache,
    Tickets,
}

const MODES: &[(&str, Mode)] =
    &[("cache", Mode::Cache), ("tickets", Mode::Tickets), ("off", Mode::Off)];

impl Resolver<'_> {
    pub(super) fn sessions(&mut self, listener: &model::Listener) -> Option<SessionRules> {
        let mode = self.choice(listener.resumption.as_ref(), "resumption", MODES, Mode::Off);
        let age_max_s = self.count(listener.session_age_max_s.as_ref(), &bounds::SESSION_AGE_MAX_S);
        let tickets = self.count(listener.session_tickets.as_ref(), &bounds::SESSION_TICKETS);
        let written = [
            ("session_age_max_s", listener.session_age_max_s.as_ref().map(|it| it.span())),
            ("session_tickets", listener.session_tickets.as_ref().map(|it| it.span())),
        ];
        for (key, span) in written {
            if let (Mode::Off, Some(span)) = (mode, span) {
                self.refuse(
                    &span,
                    &format!("{key} is set, and resumption is off"),
                    "it only where sessions are resumed",
                    &format!("remove `{key}`, or set `resumption = \"cache\"`"),
                );
            }
        }
        let secret = match (&listener.ticket_secret, mode) {
            (Some(text), Mode::Tickets) => self.ticket_secret(text)?,
            (Some(text), _) => {
                self.refuse(
                    &text.span(),
                    "ticket_secret is set, and sessions do not travel in tickets",
                    "it only with `resumption = \"tickets\"`",
                    "set that, or remove `ticket_secret`",
                );
                return None;
            }
            (None, _) => self.context.ticket_secret.clone(),
        };
        let mode = match mode {
            Mode::Off => Resumption::Off,
            Mode::Cache => Resumption::Cache,
            // A key is accepted for as long as a session may be resumed, at least.
            Mode::Tickets => Resumption::Tickets(Arc::new(TicketKeys::new(secret, age_max_s))),
        };
        Some(SessionRules { mode, age_max_s, tickets: tickets as usize })
    }

    fn ticket_secret(&mut self, text: &Text) -> Option<TicketSecret> {
        let path = self.path("ticket_secret", text)?;
        let bytes = self
            .context
            .files
            .read_secret(&path, TICKET_SECRET_BYTES_MAX)
            .map_err(|error| {
                let bytes_max = TICKET_SECRET_BYTES_MAX;
                self.refuse_unread("ticket_secret", text, &path, &error, bytes_max);
            })
            .ok()?;
        TicketSecret::new(&bytes)
            .map_err(|short| {
                let complaint = Complaint::new(
                    format!("holds {short}"),
                    "random bytes that nobody else knows",
                    "make them: head -c 64 /dev/urandom > FILE; chmod 600 FILE",
                );
                self.complain("ticket_secret", text, complaint);
            })
            .ok()
    }
}
