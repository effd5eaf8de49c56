//! Login names. Asking for one may take a directory server, so each is asked for once.

use std::collections::HashMap;

use labwatch_contract::event::contact::User;

const MOST: usize = 256;

/// Names that are known already, by number.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<u32, String>);

impl Users {
    /// The login name, or the number where it has none.
    pub(super) fn user(&mut self, uid: u32) -> User {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let look_up = || {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        };
        let name = self.0.entry(uid).or_insert_with(look_up).clone();
        User { name }
    }
}
