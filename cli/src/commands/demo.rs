//! `demo`.
use crate::args::{self, Args};
use crate::error::{CliError, Exit};
use crate::output::Output;

pub(crate) async fn demo(_args: &Args, _out: &Output, _demo: &args::Demo) -> Result<Exit, CliError> {
    Err(CliError::usage("soon"))
}
