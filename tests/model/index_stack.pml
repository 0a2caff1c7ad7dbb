/* slots/index_stack.h, link by link: three callers take indices off the list and put them back, in every order of
 * their single steps. Checked: an index has one owner, none is lost, none is doubled. With TAGGED 0 the count in the
 * head is left out: then the check must fail (ABA). */
#ifndef TAGGED
#define TAGGED 1
#endif
#define CALLERS 3
#define INDICES 3
#define ROUNDS 2
#define NONE INDICES

byte head_index = 0, head_count = 0;
byte links[INDICES];
byte owners[INDICES]; /* how many callers believe that they own it */
byte ended = 0;

proctype caller() {
  byte round = 0, mine = NONE, seen, seen_count, next;
  do
  :: round == ROUNDS -> break
  :: round < ROUNDS ->
    /* pop */
    atomic { seen = head_index; seen_count = head_count };
    do
    :: seen == NONE -> mine = NONE; break
    :: seen != NONE ->
      next = links[seen];
      atomic {
        if
        :: head_index == seen && (!TAGGED || head_count == seen_count) ->
          head_index = next; mine = seen; owners[mine]++; assert(owners[mine] == 1); break
        :: else -> seen = head_index; seen_count = head_count
        fi
      }
    od;
    if
    :: mine == NONE
    :: mine != NONE ->
      /* push */
      owners[mine]--;
      atomic { seen = head_index; seen_count = head_count };
      do
      :: links[mine] = seen;
        atomic {
          if
          :: head_index == seen && (!TAGGED || head_count == seen_count) ->
            head_index = mine; head_count++; break
          :: else -> seen = head_index; seen_count = head_count
          fi
        }
      od
    fi;
    round++
  od;
  ended++
}

init {
  byte i = 0, found = 0;
  atomic {
    do
    :: i < INDICES -> links[i] = i + 1; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < CALLERS -> run caller(); i++
    :: else -> break
    od
  };
  ended == CALLERS;
  atomic {
    i = head_index;
    do
    :: i != NONE && found <= INDICES -> found++; i = links[i]
    :: else -> break
    od;
    assert(found == INDICES)
  }
}
