/* The protocol of docs/session-pool.md: acquire, finish, wait, close, with the list and the queue as single steps, in
 * every order. Callers want a session again and again; a waiter may time out at any moment; the engine closes at any
 * moment, or never. Checked: no deadlock (a lost wake-up is one: a waiter that nobody will wake), no session lent
 * twice or lost, everybody ends, and after close no session stays idle.
 * MISTAKE 1: a waiter tries the pool before it enters the queue, and not after. MISTAKE 2: finish looks at the gate only
 * before its push. Each must be found. */
#ifndef MISTAKE
#define MISTAKE 0
#endif
#define CALLERS 3
#define SESSIONS 2
#define ROUNDS 2

byte idle = SESSIONS, leased = 0, discarded = 0;
bool gate_closed = false, router_closed = false;

byte waiting = 0;
chan queue = [CALLERS] of { byte }; /* oldest first; only touched in atomic steps: the mutex */
bool queued[CALLERS], granted[CALLERS], word[CALLERS];
byte ended = 0;

#define CHECK assert(idle + leased + discarded == SESSIONS)

/* Router::serve under the mutex: the oldest waiters get what is idle. */
inline serve() {
  atomic {
    do
    :: waiting > 0 && idle > 0 && !gate_closed ->
      queue ? who; idle--; leased++; waiting--;
      queued[who] = false; granted[who] = true; word[who] = true; CHECK
    :: else -> break
    od;
    who = 0
  }
}

inline sweep() {
  atomic { discarded = discarded + idle; idle = 0; CHECK }
}

proctype caller(byte me) {
  byte round = 0, who = 0;
  bool mine, seen_closed;
  do
  :: round == ROUNDS || router_closed -> break
  :: round < ROUNDS && !router_closed ->
    mine = false;
    /* A newcomer takes a free session, or (barging is over) does not try. */
    if
    :: atomic { !gate_closed && idle > 0 -> idle--; leased++; mine = true; CHECK }
    :: skip
    fi;
    if
    :: mine
    :: !mine ->
      atomic { queue ! me; queued[me] = true; waiting++ };
#if MISTAKE != 1
      serve();
#endif
      do
      :: atomic { granted[me] -> granted[me] = false; mine = true; break }
      :: atomic { !granted[me] && router_closed ->
           if
           :: queued[me] -> queue ?? eval(me); queued[me] = false; waiting--
           :: else
           fi; break }
      :: atomic { !granted[me] && !router_closed && word[me] -> word[me] = false } /* woken; looks again */
#ifdef TIMEOUTS
      :: atomic { !granted[me] && !router_closed ->
           if
           :: queued[me] -> queue ?? eval(me); queued[me] = false; waiting--
           :: else
           fi; break }
#endif
      od
    fi;
    if
    :: !mine
    :: mine -> /* finish */
      seen_closed = gate_closed;
      if
      :: seen_closed -> atomic { leased--; discarded++; CHECK }
      :: !seen_closed ->
        atomic { leased--; idle++; CHECK };
#if MISTAKE != 2
        if
        :: gate_closed -> sweep()
        :: else
        fi
#endif
      fi;
      if
      :: waiting > 0 -> serve()
      :: waiting == 0
      fi
    fi;
    round++
  od;
  ended++
}

proctype closer() {
  if
  :: skip -> /* Router::close, then SessionPool::close */
    atomic {
      router_closed = true;
      word[0] = true; word[1] = true; word[2] = true
    };
    gate_closed = true;
    sweep()
  :: skip /* never */
  fi;
  ended++
}

init {
  byte i = 0;
  atomic {
    do
    :: i < CALLERS -> run caller(i); i++
    :: else -> break
    od;
    run closer()
  };
  ended == CALLERS + 1;
  assert(leased == 0 && waiting == 0);
  assert(!gate_closed || idle == 0)
}
