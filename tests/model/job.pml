/* One submitted request (engine/crypto_job.cc) in every order of events: it waits in the router's queue, is served to a
 * worker, the module returns or does not, the watch gives the attempt up, the deadline passes, somebody cancels, the
 * engine closes. Checked: its completion runs exactly once, and never while it is still in the queue; every session comes
 * back exactly once; an attempt that was given up touches nothing of the request any more.
 * MISTAKE 1: a worker goes on though the watch gave its attempt up. MISTAKE 2: cancelling does not look whether the
 * request still waits. Each must be found. */
#ifndef MISTAKE
#define MISTAKE 0
#endif
#define ATTEMPTS 2

mtype = { nowhere, queued, running, ended };
mtype place = nowhere; /* who has the request; changed by the one who has it, or under the router's mutex (atomic) */
byte completions = 0, leased = 0, attempt = 0, workers = 0;
bool given_up[ATTEMPTS]; /* under the worker's mutex (atomic) */
bool returned[ATTEMPTS];
bool closing = false, closed = false, cancelled = false;

inline complete() {
  assert(place != queued);
  place = ended;
  completions++;
  assert(completions == 1)
}

/* Asks for a session of the next slot. */
inline proceed() {
  if
  :: attempt == ATTEMPTS || closed -> complete() /* refused */
  :: attempt < ATTEMPTS && !closed -> place = queued
  fi
}

proctype worker(byte mine) {
  /* The module may return, early or late, or never. */
  if
  :: true -> returned[mine] = true;
    atomic {
      leased--; /* finish() of the lease, also when it was written off */
#if MISTAKE == 1
      if
#else
      if
      :: given_up[mine]
#endif
      :: !given_up[mine] || MISTAKE == 1 ->
        assert(place == running || MISTAKE == 1);
        if
        :: complete()            /* it worked, or failed for good */
        :: attempt++; proceed()  /* another attempt makes sense */
        fi
      fi
    }
  :: true -> /* never: the thread is left behind */
    (given_up[mine]);
    atomic { leased-- }
  fi;
  workers--
}

proctype router() { /* serves, expires, or refuses because of the end, whoever calls it */
  do
  :: atomic { place == queued && !closed -> place = running; leased++; workers++; run worker(attempt) }
  :: atomic { place == queued -> place = nowhere; complete() } /* the deadline, or the close */
  :: atomic { place == ended && workers == 0 -> break }
  od
}

proctype watch() {
  byte now;
  do
  :: atomic { place == running && attempt < ATTEMPTS && !given_up[attempt] ->
       now = attempt;
       given_up[now] = true;
       if
       :: !closing -> attempt++; proceed() /* another slot can do it */
       :: complete()                       /* the deadline, or the close */
       fi }
  :: atomic { place == ended -> break }
  od
}

proctype canceller() {
  if
#if MISTAKE == 2
  :: atomic { place != ended -> cancelled = true; place = nowhere; complete() }
#else
  :: atomic { place == queued -> cancelled = true; place = nowhere; complete() }
#endif
  :: true
  fi
}

proctype closer() {
  if
  :: atomic { closing = true; closed = true }
  :: true
  fi
}

init {
  atomic { place = queued; run router(); run watch(); run canceller(); run closer() };
  (place == ended && workers == 0);
  assert(completions == 1 && leased == 0)
}
