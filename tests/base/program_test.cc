#include "base/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/clock.h"

namespace tidemark::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

Result<ProgramEnd> shell(const std::string& text, std::chrono::microseconds timeout = seconds(20),
                         std::stop_token stop = {}) {
  return run_program({"/bin/sh", "-c", text, "sh"}, {{"TM_WHAT", "a b"}}, timeout, stop);
}

TEST(ProgramTest, ItsEndAndItsWordsComeBack) {
  const auto done = shell("echo to out; echo to err >&2; echo \"$TM_WHAT\"; exit 7");
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->exit_code, 7);
  EXPECT_FALSE(done->timed_out);
  EXPECT_EQ(done->output, "to out\nto err\na b\n");
  EXPECT_EQ(shell("true")->exit_code, 0);
  EXPECT_EQ(shell("kill -9 $$")->exit_code, 128 + 9);
}

TEST(ProgramTest, OnlyTheEndOfALongOutputIsKept) {
  const auto done = shell("yes | head -c 10000000; echo last");
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->output.size(), 4096U);
  EXPECT_TRUE(done->output.ends_with("last\n"));
}

TEST(ProgramTest, WhatCannotBeStartedSaysSo) {
  const auto done = run_program({"/no/such/program"}, {}, seconds(1), {});
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code(), ErrorCode::invalid_argument);
  EXPECT_THAT(done.error().message(), HasSubstr("/no/such/program"));
}

// It, what it started, and what it says when asked to end.
TEST(ProgramTest, WhatHangsIsEndedWithAllThatItStarted) {
  const auto begin = Clock::system().uptime();
  const auto polite = shell("sleep 1000 & trap 'echo bye; exit 3' TERM; wait", milliseconds(200));
  ASSERT_TRUE(polite.has_value());
  EXPECT_TRUE(polite->timed_out);
  EXPECT_EQ(polite->output, "bye\n");
  const auto stubborn = shell("trap '' TERM; while :; do sleep 0.1; done", milliseconds(200));
  ASSERT_TRUE(stubborn.has_value());
  EXPECT_TRUE(stubborn->timed_out);
  EXPECT_EQ(stubborn->exit_code, 128 + 9);
  EXPECT_LT(Clock::system().uptime() - begin, seconds(15));
}

TEST(ProgramTest, WhatItLeavesInTheBackgroundHoldsNobodyUp) {
  const auto begin = Clock::system().uptime();
  const auto done = shell("sleep 3 & echo gone");
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->output, "gone\n");
  EXPECT_LT(Clock::system().uptime() - begin, seconds(3));
}

TEST(ProgramTest, AStopEndsIt) {
  std::stop_source stop;
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(200));
    stop.request_stop();
  });
  const auto done = shell("sleep 1000", seconds(1000), stop.get_token());
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
}

// Our threads block signals; a program that starts so could not be ended.
TEST(ProgramTest, ItsSignalsAreNotBlocked) {
  sigset_t all, old;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &old);
  const auto done = shell("kill -TERM $$; echo still here");
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->exit_code, 128 + SIGTERM);
}

TEST(RunningProgramTest, ItRunsBesideUsUntilItIsDestroyed) {
  const auto begin = Clock::system().uptime();
  {
    auto program = RunningProgram::start(
        {"/bin/sh", "-c",
         "trap 'echo bye; exit' TERM; echo \"$TM_WHAT\"; while :; do sleep 0.1; done"},
        {{"TM_WHAT", "a b"}});
    ASSERT_TRUE(program.has_value());
    while (program->output().empty()) std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(program->output(), "a b\n");
    EXPECT_FALSE(program->wait(milliseconds(50)));
    EXPECT_TRUE(program->running());
    program->end();
    EXPECT_FALSE(program->running());
    // The shell may say between them that what it waited for was ended, too.
    EXPECT_THAT(program->output(), ::testing::StartsWith("a b\n"));
    EXPECT_THAT(program->output(), ::testing::EndsWith("bye\n"));
    *program = *RunningProgram::start({"/bin/sleep", "1000"}, {});
    EXPECT_TRUE(program->running());
  }
  EXPECT_LT(Clock::system().uptime() - begin, seconds(10));
}

bool is_there(int pid) { return ::kill(pid, 0) == 0; }

int number_in(const std::string& path) {
  std::ifstream file(path);
  int number = 0;
  file >> number;
  return number;
}

TEST(RunningProgramTest, TheThreadThatStartedItMayEndBeforeIt) {
  Result<RunningProgram> program = Error(ErrorCode::internal, "not started");
  std::thread([&] { program = RunningProgram::start({"/bin/sleep", "1000"}, {}); }).join();
  ASSERT_TRUE(program.has_value());
  EXPECT_FALSE(program->wait(milliseconds(300)));
}

TEST(RunningProgramDeathTest, AKillOfOursLeavesNoneBehind) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // The process that dies runs this test from its beginning.
  ::setenv("TM_NOTE", (::testing::TempDir() + "program-" + std::to_string(::getpid())).c_str(), 0);
  const std::string note = ::getenv("TM_NOTE");
  EXPECT_EXIT(
      {
        auto program = RunningProgram::start(
            {"/bin/sh", "-c",
             "echo $$ > " + note + ".new; mv " + note + ".new " + note + "; exec sleep 1000"},
            {});
        while (number_in(note) == 0) std::this_thread::sleep_for(milliseconds(5));
        ::kill(::getpid(), SIGKILL);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  const int pid = number_in(note);
  ASSERT_GT(pid, 0);
  std::remove(note.c_str());
  for (int look = 0; look < 200 && is_there(pid); ++look)
    std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(is_there(pid)) << pid;
}

TEST(RunningProgramTest, ItsOwnEndIsSeenAndTheStubbornAreKilled) {
  auto quick = RunningProgram::start({"/bin/true"}, {});
  ASSERT_TRUE(quick.has_value());
  EXPECT_TRUE(quick->wait(seconds(20)));
  EXPECT_FALSE(quick->running());
  auto stubborn = RunningProgram::start(
      {"/bin/sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"}, {});
  ASSERT_TRUE(stubborn.has_value());
  while (stubborn->output().empty()) std::this_thread::sleep_for(milliseconds(5));
  stubborn->end();
  EXPECT_FALSE(stubborn->running());
  EXPECT_FALSE(RunningProgram::start({"/no/such/program"}, {}));
}

}  // namespace
}  // namespace tidemark::test
