//! Every command that the README and the runbook show runs as shown.
