//! Recovery with nothing but the store: no project, no cargo, no network.
