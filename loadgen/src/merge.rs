//! tmp
/// tmp
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// f
    pub json: Option<std::path::PathBuf>,
}
/// tmp
pub fn run(_: &MergeArgs) -> Result<crate::outcome::Outcome, String> {
    Err("tmp".into())
}
