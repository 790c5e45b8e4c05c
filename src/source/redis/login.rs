//! A connection that Redis lets in: the password and the database.

use redis::{Value, cmd};

use super::address::{Node, Password};
use super::connection::{ConnectContext, Connection};
use super::error::Error;

/// Returns a connection to `node` that may be used.
///
/// # Errors
/// If it does not answer, or does not let mapcast in.
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

/// Shows the password as it is now, for `user` or, without one, the default user.
///
/// # Errors
/// If it cannot be read or is refused.
pub(super) fn authenticate(connection: &mut Connection, user: Option<&str>, password: &Password) -> Result<(), Error> {
    let password = password.read()?;
    let mut auth = cmd("AUTH");
    auth.arg(user).arg(&password);
    connection.ask::<Value>(&auth).map(|_| ()).map_err(|error| error.without(&password))
}
