//! Logs in: sends the password and selects the database.

use redis::{Value, cmd};

use super::address::{Node, Password};
use super::connection::{ConnectContext, Connection};
use super::error::Error;

/// Returns a logged-in connection to `node`.
///
/// # Errors
/// If the node does not answer, or denies access.
pub(super) fn log_in(context: ConnectContext<'_>, node: &Node) -> Result<Connection, Error> {
    let (mut connection, address) = (Connection::open(node, context)?, context.address);
    if let Some(password) = &address.password {
        authenticate(&mut connection, address.user.as_deref(), password)?;
    }
    if address.database != 0 {
        connection.ask::<Value>(cmd("SELECT").arg(address.database))?;
    }
    Ok(connection)
}

/// Authenticates `user`, or the default user, with the current password.
///
/// # Errors
/// If the password cannot be read or is refused.
pub(super) fn authenticate(connection: &mut Connection, user: Option<&str>, password: &Password) -> Result<(), Error> {
    let password = password.read()?;
    let mut auth = cmd("AUTH");
    auth.arg(user).arg(&password);
    connection.ask::<Value>(&auth).map(|_| ()).map_err(|error| error.without(&password))
}
