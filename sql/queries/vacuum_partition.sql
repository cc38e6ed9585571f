-- Mark the pages of a partition visible, freeze their rows, and count what it holds, for the planner. Goes on beside COPY
-- and queries; without TRUNCATE it never asks for a lock that they would wait for.
VACUUM (FREEZE, ANALYZE, TRUNCATE false) {partition}
