//! A time on the command line: how long ago, or when.

pub(crate) use broca_admin::operations::Moment;

pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    text.parse()
}
