//! Why a server closes a connection before any map.

/// Returns a message that names possible causes. They cannot be distinguished: the server sends no reason.
pub(crate) fn text(address: &str, is_encrypted: bool) -> String {
    let tls = if is_encrypted { "" } else { ", needs --tls" };
    format!(
        "{address} closed the connection before any map; perhaps the server is full (--max-connections), does not \
         allow this address (--allow){tls}, or is stopping: its log says which"
    )
}
