//! All integration tests, in one program: linking takes longer than they do.

mod architecture;
mod cast;
mod echo;
mod overload;
mod stop;
mod support;
