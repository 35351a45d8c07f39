//! Machine code: relocation for detours, fate of results.
