// The way into a running simulator from outside: a Unix socket that takes one JSON object a line and answers with one.
// Served by a thread of its own. docs/simhsm.md tells the requests.
#pragma once

#include <string>

namespace hsmux::sim {

// Listens at `path` (0600, peers of the same user only) from now on. A path that cannot be used is told on standard
// error and the simulator does without.
void serve_control(const std::string& path);
// Removes the socket's file. At the end of the process.
void end_control();

// The answer to one request: {"ok":true,...} or {"ok":false,"error":"..."}.
std::string answer_control(const std::string& request);

} // namespace hsmux::sim
