//! Which message: by its id, or by as much of it as tells it apart.

pub(crate) use broca_admin::operations::WhichMessage as Which;
