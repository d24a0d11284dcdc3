// The NBD server around its connections: timeouts, stops, sockets, limits, the door.
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/transport/nbd_support.h"

namespace tidemark::testing {
namespace {

using namespace nbd;
using namespace std::chrono_literals;

TEST_F(Nbd, AClientThatSaysNothingIsLeft) {
  Options impatient = options();
  impatient.handshake_timeout = 1s;
  NbdPeer peer(view_, impatient);
  EXPECT_TRUE(peer.closes());
  NbdPeer dripping(view_, impatient);
  dripping.greet();
  for (int i = 0; i < 3; ++i) dripping.ask(4711);
  EXPECT_TRUE(dripping.closes());
}

TEST_F(Nbd, AClientThatReadsNothingIsLeft) {
  Options impatient = options();
  impatient.stall_timeout = 1s;
  NbdPeer peer(view_, impatient);
  peer.connect(false);
  for (int i = 0; i < 40; ++i) peer.request(CommandType::read, 0, 4 << 20);
  const auto began = net::uptime();
  peer.join();  // ends by itself, and not once for each of its requests
  EXPECT_LT(net::uptime() - began, 5s);
}

TEST_F(Nbd, StoppingEndsIdleAndBusyClients) {
  NbdPeer idle(view_, options()), busy(view_, options()), shy(view_, options());
  idle.connect();
  busy.connect(false);
  for (int i = 0; i < 40; ++i) busy.request(CommandType::read, 0, 4 << 20);
  for (NbdPeer* peer : {&idle, &busy, &shy}) {
    peer->stop();
    peer->join();
    EXPECT_TRUE(peer->ended());
  }
}

// --- the server around it

std::unique_ptr<Server> start(MemoryView& view, Options options) {
  auto server = Server::start(view, std::move(options));
  EXPECT_TRUE(server) << (server ? "" : server.error().describe());
  return server ? *std::move(server) : nullptr;
}

bool connects(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

TEST_F(Nbd, AUnixSocketIsOursAloneAndGoesWithTheServer) {
  const TemporaryDirectory directory;
  Options local = options();
  local.address.socket = directory.path() / "disk.sock";
  auto server = start(view_, local);
  struct stat st {};
  ASSERT_EQ(::stat(local.address.socket.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  EXPECT_TRUE(connects(local.address.socket));
  EXPECT_EQ(server->uri(), "nbd+unix:///?socket=" + local.address.socket.string());
  const auto second = Server::start(view_, local);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::refused);
  EXPECT_TRUE(connects(local.address.socket));
  server->stop();
  EXPECT_FALSE(std::filesystem::exists(local.address.socket));
}

TEST_F(Nbd, ASocketThatADeadServerLeftIsReplacedAndAFileIsNot) {
  const TemporaryDirectory directory;
  Options local = options();
  local.address.socket = directory.path() / "disk.sock";
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, local.address.socket.c_str(),
                local.address.socket.native().size());
    const Fd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(std::filesystem::exists(local.address.socket));
  start(view_, local).reset();
  ASSERT_FALSE(std::filesystem::exists(local.address.socket));
  const Fd file(::open(local.address.socket.c_str(), O_CREAT | O_CLOEXEC, 0600));
  const auto refused = Server::start(view_, local);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::refused);
  EXPECT_TRUE(std::filesystem::exists(local.address.socket));
  local.address.socket = "/" + std::string(200, 'x');
  EXPECT_EQ(Server::start(view_, local).error().code(), ErrorCode::invalid_argument);
}

TEST_F(Nbd, ConnectionsBeyondTheLimitAreClosed) {
  Options few = options();
  few.address.host = "127.0.0.1";
  few.connections_max = 2;
  const auto server = start(view_, few);
  const auto cancel = *net::Event::create();
  std::vector<Fd> kept;
  for (int i = 0; i < 3; ++i)
    kept.push_back(*net::connect_tcp("127.0.0.1", server->address().port, 2s, *cancel));
  std::array<char, 18> hello{};
  const auto gets = [&](const Fd& fd) {
    EXPECT_TRUE(net::wait_for(fd.get(), POLLIN, 5s, {}));
    return ::recv(fd.get(), hello.data(), hello.size(), 0);
  };
  EXPECT_EQ(gets(kept[0]), 18);
  EXPECT_EQ(gets(kept[1]), 18);
  EXPECT_LE(gets(kept[2]), 0);
}

TEST_F(Nbd, WithoutTlsNothingIsSaidBehindTheDoor) {
  const Pki pki;
  Options closed = options();
  closed.door = std::shared_ptr<net::TlsDoor>(*net::TlsDoor::open(pki.issue("osaka"), {"osaka"}));
  NbdPeer peer(view_, closed);
  peer.greet();
  EXPECT_EQ(peer.ask(kOptList), kRepErrTlsRequired);
  EXPECT_EQ(peer.ask(kOptGo, NbdPeer::go_data()), kRepErrTlsRequired);
  EXPECT_EQ(peer.ask(kOptStartTls, as_bytes("x")), kRepErrInvalid);
  peer.send_option(kOptExportName);
  EXPECT_TRUE(peer.closes());
  NbdPeer babbling(view_, closed);
  babbling.greet();
  EXPECT_EQ(babbling.ask(kOptStartTls), kRepAck);
  babbling.send(random_body(random_, 5000));
  EXPECT_TRUE(babbling.closes());
}

}  // namespace
}  // namespace tidemark::testing
