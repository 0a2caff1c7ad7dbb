// The subcommands of hsmux: each adds itself to the command line, one file each. Main thread, before parsing.
//
// A subcommand's function makes its CLI::App with a description, options and a footer that starts with "Examples:", and
// calls Program::on with the action. What options write to must live as long as the program: a shared_ptr that the
// action holds.
#pragma once

#include <string>

#include "tools/program.h"

namespace hsmux {

void add_admin(CLI::App& app, Program& program);
void add_bench(CLI::App& app, Program& program);
void add_capacity(CLI::App& app, Program& program);
void add_decrypt(CLI::App& app, Program& program);
void add_demo(CLI::App& app, Program& program);
void add_encrypt(CLI::App& app, Program& program);
void add_health(CLI::App& app, Program& program);
void add_init_softhsm(CLI::App& app, Program& program);
void add_keys(CLI::App& app, Program& program);
void add_monitor(CLI::App& app, Program& program);
void add_random(CLI::App& app, Program& program);
void add_selftest(CLI::App& app, Program& program);
void add_sign(CLI::App& app, Program& program);
void add_sim(CLI::App& app, Program& program);
void add_slots(CLI::App& app, Program& program);
void add_verify(CLI::App& app, Program& program);

// --algorithm's value. Errors: kInvalidArgument that lists the known names.
Result<Algorithm> algorithm_named(const std::string& name);

} // namespace hsmux
