/* Load for any XMPP server, light enough that the server is the limit: one thread, epoll, callbacks.

   generator MODE key=value ...        modes: message, login, classic, hold
   It says {"event": "ready"} and waits for a line on stdin before the part that is measured, so that the
   caller can read clocks; {"event": "done", ...} ends that part, and the program. Users are <prefix><first>
   onwards; what each mode does stands above its function, far below.

   It knows just enough XML to find where first-level elements end (no CDATA, comments or DTD: RFC 6120
   §11.1 forbids the latter two). Every message is checked: sequence, text, addressee. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_OPENSSL
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#endif

enum { MAX_NODES = 16, READ_SIZE = 65536 };
enum state { IDLE, CONNECTING, HANDSHAKE, FEATURES, PROCEED, CHALLENGE, SUCCESS, FEATURES2, BOUND, ROSTER,
             PRESENCE, READY, CLOSING };

/* options */
static const char *o_domain = "localhost", *o_password = "secret", *o_prefix = "user", *o_mechanism = "PLAIN";
static const char *o_tls = "none";
static int o_users = 100, o_first = 0, o_window = 1, o_size = 100, o_parallel = 32, o_full = 0, o_cross = 0;
static int o_contacts = 0, o_expected = -1, o_exact = 1, o_away = 0;
static double o_time = 5, o_rate = 0, o_stay = 1, o_limit = 60, o_drain = 10;
static int o_ring = 0, o_sample = 0, o_active = 0, o_sources = 1, o_seed = 1;   /* hold, with reports */
static double o_pace = 0, o_report = 0;
static const char *o_source = NULL;
static struct sockaddr_in nodes[MAX_NODES];
static int node_count = 0;

struct session {
    int fd, user, node, peer;                          /* peer: the other end of the pair, or -1 */
    int want_write, is_dirty, depth, in_tag, quote, closing_tag;
    enum state state;
    char *in; size_t in_len, in_cap, scanned, start;   /* received, not yet taken */
    char *out; size_t out_len, out_cap;                /* to be written */
    long sent, next;                                   /* numbers of what it writes, of what it expects */
    int waiting_in, confirmed, wanted;                 /* classic: to come; own one arrived; its addressee */
    double leave_at;
    unsigned char *seen;                               /* hold: how often each contact became available */
#ifdef WITH_OPENSSL
    SSL *ssl;
#endif
    char nonce[40];
};

static struct session *sessions;
static int session_count, epoll_fd;
static long lost, doubled, reordered, corrupt, misrouted, failures, delivered, written, logins, presences;
static long away_written;
static char first_failure[256];
static double *samples; static long sample_count, sample_cap;
static int checks_messages, stopping, open_sessions, logging_in, finished;
static long departures, strange, dropped;              /* hold: what should not happen */
static int lean;                                       /* hold: keep no empty buffers */
static double *arrivals; static long arrival_count;    /* hold: log-ins since the last report */
static void report_if_due(void);
static void on_ready(struct session *s);
static void on_gone(struct session *s);

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static void die(const char *what) { fprintf(stderr, "generator: %s: %s\n", what, strerror(errno)); exit(2); }

static void sample(double seconds) {
    if (sample_count == sample_cap) {
        sample_cap = sample_cap ? 2 * sample_cap : 65536;
        if (!(samples = realloc(samples, sample_cap * sizeof *samples))) die("realloc");
    }
    samples[sample_count++] = seconds;
}

static void failed(struct session *s, const char *what) {
    failures++;
    if (*first_failure) return;
    snprintf(first_failure, sizeof first_failure, "user %d, state %d: %.180s", s->user, s->state, what);
    for (char *c = first_failure; *c; c++) if (*c == '"' || *c == '\\' || *c < 32) *c = '\'';
}

/* sockets */

static void watch(struct session *s, int write) {
    if (write == s->want_write) return;
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = s};
    s->want_write = write;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &e) < 0) die("epoll_ctl");
}

static void drop(struct session *s) {
    if (s->fd < 0) return;
    if (s->state != READY && s->state != CLOSING) logging_in--;
    if (s->state == READY) dropped++;
#ifdef WITH_OPENSSL
    if (s->ssl) { SSL_free(s->ssl); s->ssl = NULL; }
#endif
    close(s->fd);
    s->fd = -1; s->state = IDLE; s->in_len = s->out_len = s->scanned = s->start = 0;
    free(s->in); free(s->out); s->in = s->out = NULL; s->in_cap = s->out_cap = 0;
    open_sessions--; finished++;
    on_gone(s);
}

static long put(struct session *s, const char *data, size_t len) {
#ifdef WITH_OPENSSL
    if (s->ssl) {
        int n = SSL_write(s->ssl, data, len);
        if (n > 0) return n;
        int e = SSL_get_error(s->ssl, n);
        if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) errno = EAGAIN; else errno = EPIPE;
        return -1;
    }
#endif
    return send(s->fd, data, len, MSG_NOSIGNAL);
}

static long get(struct session *s, char *data, size_t len) {
#ifdef WITH_OPENSSL
    if (s->ssl) {
        int n = SSL_read(s->ssl, data, len);
        if (n > 0) return n;
        int e = SSL_get_error(s->ssl, n);
        if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) { errno = EAGAIN; return -1; }
        return 0;
    }
#endif
    return recv(s->fd, data, len, 0);
}

static void flush(struct session *s) {
    if (s->fd < 0 || !s->out_len) return;
    long n = put(s, s->out, s->out_len);
    if (n < 0 && errno != EAGAIN) { failed(s, "write"); drop(s); return; }
    if (n > 0) { memmove(s->out, s->out + n, s->out_len - n); s->out_len -= n; }
    if (lean && !s->out_len) { free(s->out); s->out = NULL; s->out_cap = 0; }
    watch(s, s->out_len > 0);
}

/* Sessions with output since the loop's last turn; each is written to once a turn. */
static struct session **dirty; static int dirty_count;

static void say(struct session *s, const char *format, ...) {
    char text[4096];
    va_list list; va_start(list, format);
    int len = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (len >= (int)sizeof text) { errno = EMSGSIZE; die("say"); }
    if (s->fd < 0) return;
    if (s->out_len + len > s->out_cap) {
        s->out_cap = (s->out_len + len) * 2;
        if (!(s->out = realloc(s->out, s->out_cap))) die("realloc");
    }
    if (!s->is_dirty) { s->is_dirty = 1; dirty[dirty_count++] = s; }
    memcpy(s->out + s->out_len, text, len);
    s->out_len += len;
}

static void start_stream(struct session *s) {
    s->depth = s->in_tag = s->quote = 0; s->scanned = s->start = s->in_len = 0;
    say(s, "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' "
           "xmlns:stream='http://etherx.jabber.org/streams'>", o_domain);
}

/* One of our source addresses; the port is chosen when the destination is known, so there are enough. */
static void bind_source(struct session *s) {
    int one = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, o_source, &from.sin_addr) != 1) { errno = EINVAL; die(o_source); }
    from.sin_addr.s_addr = htonl(ntohl(from.sin_addr.s_addr) + (s - sessions) / node_count % o_sources);
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(s->fd, (struct sockaddr *)&from, sizeof from) < 0) die(o_source);
}

static void connect_session(struct session *s) {
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) die("socket");
    if (o_source) bind_source(s);
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->state = CONNECTING; s->want_write = 1;
    s->waiting_in = s->confirmed = 0;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0) die("epoll_ctl");
    open_sessions++; logging_in++;
    if (connect(s->fd, (struct sockaddr *)&nodes[s->node], sizeof nodes[0]) < 0 && errno != EINPROGRESS) {
        failed(s, "connect"); drop(s);
    }
}

/* SASL */

static void base64(const unsigned char *in, size_t len, char *out) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        unsigned v = in[i] << 16 | (i + 1 < len ? in[i + 1] << 8 : 0) | (i + 2 < len ? in[i + 2] : 0);
        *out++ = set[v >> 18]; *out++ = set[v >> 12 & 63];
        *out++ = i + 1 < len ? set[v >> 6 & 63] : '='; *out++ = i + 2 < len ? set[v & 63] : '=';
    }
    *out = 0;
}

static void start_auth(struct session *s) {
    unsigned char text[256]; char coded[400]; int len;
    if (!strcmp(o_mechanism, "PLAIN")) {
        len = snprintf((char *)text, sizeof text, "%c%s%d%c%s", 0, o_prefix, s->user, 0, o_password);
        s->state = SUCCESS;
    } else {
        snprintf(s->nonce, sizeof s->nonce, "%08x%08x%08x%08x", rand(), rand(), rand(), rand());
        len = snprintf((char *)text, sizeof text, "n,,n=%s%d,r=%s", o_prefix, s->user, s->nonce);
        s->state = CHALLENGE;
    }
    base64(text, len, coded);
    say(s, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", o_mechanism, coded);
}

static void answer_challenge(struct session *s, const char *coded, size_t coded_len) {
#ifdef WITH_OPENSSL
    char server_first[512], r[256] = "", salt64[128] = ""; unsigned char salt[96];
    int iterations = 0, len;
    if (coded_len > 600 || coded_len % 4) { failed(s, "challenge"); drop(s); return; }
    len = EVP_DecodeBlock((unsigned char *)server_first, (const unsigned char *)coded, coded_len);
    server_first[len] = 0;
    if (sscanf(server_first, "r=%255[^,],s=%127[^,],i=%d", r, salt64, &iterations) != 3) {
        failed(s, "challenge"); drop(s); return;
    }
    int salt_len = EVP_DecodeBlock(salt, (unsigned char *)salt64, strlen(salt64));
    for (size_t n = strlen(salt64); n && salt64[n - 1] == '='; n--) salt_len--;
    unsigned char salted[20], client_key[20], stored[20], signature[20], proof[20];
    unsigned n = 20; char message[1200], coded_proof[64], reply[600], coded_reply[900];
    PKCS5_PBKDF2_HMAC(o_password, strlen(o_password), salt, salt_len, iterations, EVP_sha1(), 20, salted);
    HMAC(EVP_sha1(), salted, 20, (unsigned char *)"Client Key", 10, client_key, &n);
    EVP_Digest(client_key, 20, stored, &n, EVP_sha1(), NULL);
    int m = snprintf(message, sizeof message, "n=%s%d,r=%s,%s,c=biws,r=%s", o_prefix, s->user, s->nonce,
                     server_first, r);
    HMAC(EVP_sha1(), stored, 20, (unsigned char *)message, m, signature, &n);
    for (int i = 0; i < 20; i++) proof[i] = client_key[i] ^ signature[i];
    base64(proof, 20, coded_proof);
    len = snprintf(reply, sizeof reply, "c=biws,r=%s,p=%s", r, coded_proof);
    base64((unsigned char *)reply, len, coded_reply);
    say(s, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</response>", coded_reply);
    s->state = SUCCESS;
#else
    (void)coded; (void)coded_len;
    failed(s, "built without SCRAM"); drop(s);
#endif
}

/* TLS */

static void start_tls(struct session *s) {
#ifdef WITH_OPENSSL
    static SSL_CTX *context;
    if (!context && !(context = SSL_CTX_new(TLS_client_method()))) die("SSL_CTX_new");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
    s->ssl = SSL_new(context);
    SSL_set_fd(s->ssl, s->fd);
    SSL_set_connect_state(s->ssl);
    s->state = HANDSHAKE;
#else
    failed(s, "built without TLS"); drop(s);
#endif
}

/* Go on with the handshake; a stream begins when it is over, which may be at once. */
static void shake_hands(struct session *s) {
#ifdef WITH_OPENSSL
    int n = SSL_do_handshake(s->ssl);
    int e = SSL_get_error(s->ssl, n);
    if (n == 1) {
        watch(s, 0);
        s->state = FEATURES;
        start_stream(s);
    } else if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
        watch(s, e == SSL_ERROR_WANT_WRITE);
    } else {
        failed(s, "TLS handshake");
        drop(s);
    }
#else
    (void)s;
#endif
}

/* messages: the body is "SENDER RECIPIENT NUMBER TIME" and a padding that must come back unchanged */

static char padding[8192];

static void write_message(struct session *s, int to, int away) {
    say(s, "<message to='%s%d@%s' type='chat' id='%ld'><body>%d %d %ld %.6f %s</body></message>",
        o_prefix, to, o_domain, s->sent, s->user, to, s->sent, now_s(), padding);
    if (away) away_written++; else { s->sent++; written++; }
}

static void on_message(struct session *s, const char *text) {
    if (!checks_messages) return;   /* kept from an earlier row */
    int from, to; long number; double at; int used = 0; char type[8] = "";
    const char *body = strstr(text, "<body>"), *kind = strstr(text, "type=");
    if (kind && (!body || kind < body)) snprintf(type, sizeof type, "%.5s", kind + 6);
    if (!strcmp(type, "error")) { failed(s, text); return; }
    if (!body || sscanf(body + 6, "%d %d %ld %lf %n", &from, &to, &number, &at, &used) != 4 || !used) {
        corrupt++;
        return;
    }
    const char *rest = body + 6 + used;
    if (strncmp(rest, padding, o_size) || strncmp(rest + o_size, "</body>", 7)) { corrupt++; return; }
    if (to != s->user || from < o_first || from >= o_first + session_count) { misrouted++; return; }
    struct session *sender = &sessions[from - o_first];
    delivered++;
    sample(now_s() - at);
    if (s->peer >= 0) {  /* pairs: a lane of numbers without gaps */
        if (sender != &sessions[s->peer]) { misrouted++; return; }
        if (number < s->next) doubled++;
        else if (number > s->next) { reordered++; s->next = number + 1; }
        else s->next++;
        if (!stopping && o_rate == 0) write_message(sender, s->user, 0);
    } else {             /* classic: the sender waits for it */
        if (sender->confirmed || sender->wanted != s->user || number != sender->sent - 1) {
            doubled++;
            return;
        }
        sender->confirmed = 1;
        s->waiting_in--;
    }
}

/* the life of a session */

static void hang_up(struct session *s) {
    say(s, o_full ? "<presence type='unavailable'/></stream:stream>" : "</stream:stream>");
    s->state = CLOSING;
}

static void logged_in(struct session *s) {
    s->state = READY;
    logins++; logging_in--;
    if (arrivals) arrivals[arrival_count++] = now_s();
    on_ready(s);
}

static int attr_is(const char *text, const char *attr) {
    const char *end = strchr(text, '>'), *found = strstr(text, attr);
    return found && end && found < end;
}

/* Presence of somebody else; a sampled session remembers of whom. The ring: see sightings.py. */
static void saw(struct session *s, const char *from, int available) {
    if (available) presences++; else departures++;
    if (!s->seen) return;
    size_t n = strlen(o_prefix);
    int reach = o_contacts / 2, step = 0;
    if (!strncmp(from, o_prefix, n)) step = (atoi(from + n) - s->user + o_ring) % o_ring;
    if (step > o_ring / 2) step -= o_ring;
    if (!available || !step || step < -reach || step > reach) strange++;
    else if (s->seen[step + reach] < 255) s->seen[step + reach]++;
}

static void on_element(struct session *s, const char *t) {
    if (!strncmp(t, "<message", 8)) { on_message(s, t); return; }
    if (!strncmp(t, "<presence", 9)) {
        char own[128]; int n = snprintf(own, sizeof own, "%s%d@%s", o_prefix, s->user, o_domain);
        const char *from = strstr(t, "from=");
        if (!from) return;
        if (!strncmp(from + 6, own, n) && (from[6 + n] == '/' || from[6 + n] == from[5])) {
            if (s->state == PRESENCE && !attr_is(t, "type=")) logged_in(s);
        } else saw(s, from + 6, !attr_is(t, "type="));
        return;
    }
    if (!strncmp(t, "<stream:error", 13)) { failed(s, t); return; }
    if (!strncmp(t, "<iq", 3) && (attr_is(t, "type='get'") || attr_is(t, "type=\"get\""))) {
        char id[128] = ""; const char *at = strstr(t, " id=");
        if (at) sscanf(at + 5, "%127[^'\"]", id);
        say(s, "<iq type='result' id='%s'/>", id);   /* the server's ping */
        return;
    }
    switch (s->state) {
    case FEATURES:
        if (!strcmp(o_tls, "starttls")
#ifdef WITH_OPENSSL
            && !s->ssl
#endif
        ) { say(s, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); s->state = PROCEED; }
        else start_auth(s);
        break;
    case PROCEED: start_tls(s); if (s->fd >= 0) shake_hands(s); break;
    case CHALLENGE: {
        const char *text = strchr(t, '>'), *end = text ? strstr(text, "</") : NULL;
        if (strncmp(t, "<challenge", 10) || !end) { failed(s, t); drop(s); break; }
        answer_challenge(s, text + 1, end - text - 1);
        break;
    }
    case SUCCESS:
        if (strncmp(t, "<success", 8)) { failed(s, t); drop(s); break; }
        start_stream(s); s->state = FEATURES2;
        break;
    case FEATURES2:
        say(s, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
               "<resource>bench</resource></bind></iq>");
        s->state = BOUND;
        break;
    case BOUND:
        if (!attr_is(t, "type='result'") && !attr_is(t, "type=\"result\"")) { failed(s, t); drop(s); break; }
        if (!o_full) { logged_in(s); break; }
        say(s, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        s->state = ROSTER;
        break;
    case ROSTER: {
        int contacts = 0;
        for (const char *item = t; (item = strstr(item, "<item")); item++) contacts++;
        if (o_contacts && contacts != o_contacts) { failed(s, "wrong roster"); drop(s); break; }
        say(s, "<presence/>");
        s->state = PRESENCE;
        break;
    }
    default: break;   /* roster pushes */
    }
}

/* Find first-level elements in what came; `start` is where the present one began. */
static void scan(struct session *s) {
    while (s->scanned < s->in_len) {
        char c = s->in[s->scanned++];
        if (!s->in_tag) {
            if (c != '<') continue;
            s->in_tag = 1; s->closing_tag = 0;
            if (s->depth <= 1) s->start = s->scanned - 1;
            continue;
        }
        char before = s->in[s->scanned - 2];
        if (s->quote) { if (c == s->quote) s->quote = 0; continue; }
        if (c == '"' || c == '\'') { s->quote = c; continue; }
        if (c == '/' && before == '<') { s->closing_tag = 1; continue; }
        if (c != '>') continue;
        s->in_tag = 0;
        if (before == '?') continue;
        int opening = !s->closing_tag && before != '/';
        s->depth += opening - s->closing_tag;
        if (s->depth == 0) { drop(s); return; }   /* </stream:stream> */
        if (s->depth > 1 || opening) continue;    /* inside a stanza, or the stream header */
        size_t end = s->scanned;
        char kept = s->in[end];                   /* there is always room for a terminator */
        s->in[end] = 0;
        on_element(s, s->in + s->start);
        if (s->fd < 0 || s->in_len == 0 || s->state == HANDSHAKE) return;   /* gone, or a new stream */
        s->in[end] = kept;
    }
    if (s->depth <= 1 && !s->in_tag) s->start = s->in_len;
    memmove(s->in, s->in + s->start, s->in_len - s->start);
    s->in_len -= s->start; s->scanned -= s->start; s->start = 0;
    if (!s->in_len && s->in_cap > (lean ? 0 : 4096)) { free(s->in); s->in = NULL; s->in_cap = 0; }
}

static void readable(struct session *s) {
    static char chunk[READ_SIZE];
    while (s->fd >= 0) {
        long n = get(s, chunk, sizeof chunk);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { if (s->state != CLOSING) failed(s, "connection lost"); drop(s); return; }
        if (s->in_len + n + 1 > s->in_cap) {
            s->in_cap = s->in_len + n + 1 < 1024 ? 1024 : 2 * (s->in_len + n + 1);
            if (!(s->in = realloc(s->in, s->in_cap))) die("realloc");
        }
        memcpy(s->in + s->in_len, chunk, n);
        s->in_len += n;
        scan(s);
        if (s->state == HANDSHAKE) return;   /* starttls: what follows is TLS */
#ifdef WITH_OPENSSL
        if (s->fd >= 0 && s->ssl) continue;   /* until it wants more: decrypted bytes don't wake epoll */
#endif
        if (n < (long)sizeof chunk) return;
    }
}

static void turn(int wait_ms) {
    struct epoll_event events[512];
    for (int i = 0; i < dirty_count; i++) { dirty[i]->is_dirty = 0; flush(dirty[i]); }
    dirty_count = 0;
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
        struct session *s = events[i].data.ptr;
        if (s->fd < 0) continue;
        if (s->state == CONNECTING) {
            int error = 0; socklen_t len = sizeof error;
            getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
            if (error) { failed(s, strerror(error)); drop(s); continue; }
            watch(s, 0);
            if (!strcmp(o_tls, "direct")) start_tls(s);
            else { s->state = FEATURES; start_stream(s); continue; }
        }
        if (s->state == HANDSHAKE) {
            if (s->fd >= 0) shake_hands(s);
            continue;
        }
        if (events[i].events & EPOLLOUT) flush(s);
        if (s->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(s);
    }
    report_if_due();
}

/* what is told to the caller */

static int by_value(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static void tell(const char *event, double seconds) {
    printf("{\"event\": \"%s\", \"seconds\": %.6f, \"logins\": %ld, \"written\": %ld, \"delivered\": %ld, "
           "\"lost\": %ld, \"doubled\": %ld, \"reordered\": %ld, \"corrupt\": %ld, \"misrouted\": %ld, "
           "\"failures\": %ld, \"presences\": %ld, \"away\": %ld, \"first_failure\": \"%s\"",
           event, seconds, logins, written, delivered, lost, doubled, reordered, corrupt, misrouted, failures,
           presences, away_written, first_failure);
    if (sample_count) {
        qsort(samples, sample_count, sizeof *samples, by_value);
        printf(", \"p50_ms\": %.3f, \"p99_ms\": %.3f", 1e3 * samples[sample_count / 2],
               1e3 * samples[(long)(0.99 * (sample_count - 1))]);
    }
    puts("}");
    fflush(stdout);
}

/* hold: how it stands; log-ins and latencies since the last report one by one. */
static void report(const char *event) {
    long missing = 0, repeated = 0, sampled = 0;
    for (int i = 0; i < session_count; i++) {
        if (!sessions[i].seen) continue;
        sampled++;
        for (int step = 0; step <= o_contacts; step++) {
            if (step == o_contacts / 2) continue;   /* itself */
            if (!sessions[i].seen[step]) missing++;
            else repeated += sessions[i].seen[step] - 1;
        }
    }
    printf("{\"event\": \"%s\", \"at\": %.3f, \"logins\": %ld, \"open\": %d, \"dropped\": %ld, "
           "\"written\": %ld, \"delivered\": %ld, \"lost\": %ld, \"doubled\": %ld, \"reordered\": %ld, "
           "\"corrupt\": %ld, \"misrouted\": %ld, \"failures\": %ld, \"presences\": %ld, "
           "\"departures\": %ld, \"sampled\": %ld, \"missing\": %ld, \"repeated\": %ld, "
           "\"strange\": %ld, \"first_failure\": \"%s\", \"arrivals\": [",
           event, now_s(), logins, open_sessions, dropped, written, delivered, lost, doubled, reordered,
           corrupt, misrouted, failures, presences, departures, sampled, missing, repeated, strange,
           first_failure);
    for (long i = 0; i < arrival_count; i++) printf(i ? ", %.3f" : "%.3f", arrivals[i]);
    printf("], \"latencies_ms\": [");
    for (long i = 0; i < sample_count; i++) printf(i ? ", %.2f" : "%.2f", 1e3 * samples[i]);
    puts("]}");
    if (fflush(stdout)) exit(2);   /* whoever started us has gone */
    arrival_count = sample_count = 0;
}

static void report_if_due(void) {
    static double due;
    if (!o_report || now_s() < due) return;
    due = now_s() + o_report;
    report("progress");
}

static void wait_for_line(void) {   /* sessions stay alive meanwhile: pings are answered */
    fcntl(0, F_SETFL, O_NONBLOCK);
    for (;;) {
        char c;
        long n = read(0, &c, 1);
        if (n == 0) exit(0);
        if (n == 1 && c == '\n') return;
        if (n < 0) turn(20);
    }
}

/* modes */

static int is_login, is_classic;

static int *shuffled(int count) {
    int *order = calloc(count, sizeof *order);
    if (!order) die("calloc");
    for (int i = 0; i < count; i++) {
        int j = rand() % (i + 1);
        order[i] = order[j]; order[j] = i;
    }
    return order;
}

/* `parallel` at a time; those that leave at once, until they have left. */
static void log_all_in(int count) {
    double until = now_s() + o_limit;
    int leave = is_login && !o_full, i = 0;
    while (now_s() < until && (i < count || logging_in || (leave && finished < count))) {
        while (i < count && (leave ? i - finished : logging_in) < o_parallel) connect_session(&sessions[i++]);
        turn(10);
    }
    if (logins < count && !failures) {
        failures = 1;
        snprintf(first_failure, sizeof first_failure, "only %ld log-ins in time", logins);
    }
}

/* login: all users log in; bind only: each leaves at once; full: roster, presence to and from all, stay. */
static void run_login(void) {
    tell("ready", 0);
    wait_for_line();
    double began = now_s();
    log_all_in(session_count);
    long expected = !o_full ? 0 : o_expected >= 0 ? o_expected : (long)session_count * o_contacts;
    while (presences < expected && now_s() < began + o_limit) turn(10);
    double seconds = now_s() - began;
    for (double settled = now_s() + 0.2; now_s() < settled;) turn(10);   /* what comes now is told twice */
    if ((o_exact ? presences != expected : presences < expected) && !failures) {
        failures = 1;
        snprintf(first_failure, sizeof first_failure, "%ld presences instead of %ld", presences, expected);
    }
    tell("done", seconds);
}

/* hold: all users log in and stay until a line comes. With `report`: see hold_and_report. */
static void run_hold(void) {
    log_all_in(session_count);
    tell("ready", 0);
    wait_for_line();
    tell("done", 0);
}

/* In any order, because contacts would log in one after the other: `pace` a second, `parallel` at a time. */
static void log_in_slowly(void) {
    int *order = shuffled(session_count), i = 0;
    double began = now_s();
    while (now_s() < began + o_limit && (i < session_count || logging_in)) {
        while (i < session_count && logging_in < o_parallel && (!o_pace || i < (now_s() - began) * o_pace))
            connect_session(&sessions[order[i++]]);
        turn(o_pace ? 1 : 10);
    }
    free(order);
}

/* Pairs among the `active` at `rate` messages a second in all, for `time` seconds. */
static void exchange_messages(const int *active) {
    double began = now_s(), at;
    while ((at = now_s() - began) < o_time) {
        for (; o_active && written < at * o_rate;) {
            struct session *s = &sessions[active[written % o_active]];
            write_message(s, sessions[s->peer].user, 0);
        }
        turn(o_rate > 100 ? 1 : 10);
    }
    while (delivered < written && now_s() < began + o_time + o_drain) turn(10);
    lost = written - delivered;
}

/* hold, part of a larger load: users first .. first+users-1 of `ring`, user u on node u % nodes. Every `report`
   seconds it tells how it stands. begin, line: log in; ready, line: messages; done, line or end of input: end.
   `sample` sessions remember whose presence they saw. */
static void hold_and_report(void) {
    int *chosen = shuffled(session_count), *active = shuffled(session_count);
    lean = checks_messages = 1;
    if (!(arrivals = calloc(session_count, sizeof *arrivals))) die("calloc");
    o_active -= o_active % 2;
    for (int i = 0; i < session_count; i++) {
        struct session *s = &sessions[i];
        s->node = s->user % node_count;
        if (i < o_sample && !(sessions[chosen[i]].seen = calloc(o_contacts + 1, 1))) die("calloc");
        if (i < o_active) sessions[active[i]].peer = active[i ^ 1];
    }
    report("begin");
    wait_for_line();
    log_in_slowly();
    report("ready");
    wait_for_line();
    exchange_messages(active);
    report("done");
    wait_for_line();
}

/* message: pairs; `window` messages in flight in each, or `rate` per second over all pairs. */
static void run_message(void) {
    log_all_in(session_count);
    tell("ready", 0);
    wait_for_line();
    double began = now_s();
    int pairs = session_count / 2;
    if (o_rate == 0)
        for (int i = 0; i < pairs; i++)
            for (int w = 0; w < o_window; w++) write_message(&sessions[2 * i], sessions[2 * i + 1].user, 0);
    while (now_s() < began + o_time) {
        if (o_rate == 0) { turn(10); continue; }
        for (double t = now_s() - began; written < t * o_rate;) {
            int pair = written % pairs;
            write_message(&sessions[2 * pair], sessions[2 * pair + 1].user, 0);
        }
        turn(1);
    }
    stopping = 1;
    while (delivered < written && now_s() < began + o_time + o_drain) turn(10);
    lost = written - delivered;
    tell("done", now_s() - began);
}

/* classic: `rate` clients a second log in, write to somebody online and somebody away, stay, leave. */
static struct session **live;
static int live_count;

static void on_ready(struct session *s) {
    if (is_login && !o_full) { hang_up(s); return; }
    if (!is_classic) return;
    s->leave_at = now_s() + o_stay;
    struct session *partner = NULL;
    for (int tries = 0; live_count && tries < 8; tries++) {
        int recent = live_count < 64 ? live_count : 64;
        partner = live[live_count - 1 - rand() % recent];
        if (node_count == 1 || partner->node != s->node) break;
    }
    live[live_count++] = s;
    s->confirmed = !partner;
    if (partner) { s->wanted = partner->user; partner->waiting_in++; write_message(s, partner->user, 0); }
    static int next_away;
    if (o_away) write_message(s, o_first + session_count - o_away + next_away++ % o_away, 1);
}

static void on_gone(struct session *s) {
    for (int i = live_count - 1; i >= 0; i--)
        if (live[i] == s) { memmove(live + i, live + i + 1, (--live_count - i) * sizeof *live); break; }
}

static void leave_those_who_are_done(double now) {
    for (int i = 0; i < live_count; i++) {
        struct session *s = live[i];
        if (now < s->leave_at) break;   /* in the order of their arrival */
        if (!s->confirmed || s->waiting_in) continue;
        memmove(live + i, live + i + 1, (--live_count - i) * sizeof *live);
        i--;
        hang_up(s);
    }
}

static void run_classic(void) {
    int visitors = session_count - o_away, arrived = 0;
    int *order = shuffled(visitors);   /* or contacts would be there at the same time */
    tell("ready", 0);
    wait_for_line();
    double began = now_s(), now;
    while ((now = now_s()) < began + o_time) {
        for (; arrived < (now - began) * o_rate; arrived++) {
            struct session *s = &sessions[order[arrived % visitors]];
            if (s->fd >= 0) { failed(s, "came again before it had left"); continue; }
            s->node = arrived % node_count;
            connect_session(s);
        }
        leave_those_who_are_done(now);
        turn(1);
    }
    while (open_sessions && now_s() < began + o_time + o_stay + o_drain) {
        leave_those_who_are_done(now_s());
        turn(5);
    }
    free(order);
    lost = written - delivered;
    tell("done", now_s() - began);
}

/* options */

static void set_nodes(char *text) {
    for (char *node = strtok(text, ","); node && node_count < MAX_NODES; node = strtok(NULL, ",")) {
        char *colon = strrchr(node, ':');
        if (!colon) { errno = EINVAL; die(node); }
        *colon = 0;
        nodes[node_count].sin_family = AF_INET;
        nodes[node_count].sin_port = htons(atoi(colon + 1));
        if (inet_pton(AF_INET, node, &nodes[node_count++].sin_addr) != 1) { errno = EINVAL; die(node); }
    }
}

static void set_option(char *option) {
    char *value = strchr(option, '=');
    if (!value) { errno = EINVAL; die(option); }
    *value++ = 0;
    struct { const char *name; const char **text; int *number; double *real; } options[] = {
        {"domain", &o_domain, 0, 0}, {"password", &o_password, 0, 0}, {"prefix", &o_prefix, 0, 0},
        {"mechanism", &o_mechanism, 0, 0}, {"tls", &o_tls, 0, 0}, {"users", 0, &o_users, 0},
        {"first", 0, &o_first, 0}, {"window", 0, &o_window, 0}, {"size", 0, &o_size, 0},
        {"parallel", 0, &o_parallel, 0}, {"full", 0, &o_full, 0}, {"cross", 0, &o_cross, 0},
        {"contacts", 0, &o_contacts, 0}, {"expected", 0, &o_expected, 0}, {"exact", 0, &o_exact, 0},
        {"away", 0, &o_away, 0}, {"time", 0, 0, &o_time}, {"rate", 0, 0, &o_rate},
        {"stay", 0, 0, &o_stay}, {"limit", 0, 0, &o_limit},
        {"drain", 0, 0, &o_drain}, {"ring", 0, &o_ring, 0}, {"sample", 0, &o_sample, 0},
        {"active", 0, &o_active, 0}, {"sources", 0, &o_sources, 0}, {"seed", 0, &o_seed, 0},
        {"pace", 0, 0, &o_pace}, {"report", 0, 0, &o_report}, {"source", &o_source, 0, 0}};
    if (!strcmp(option, "nodes")) { set_nodes(value); return; }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(option, options[i].name)) continue;
        if (options[i].text) *options[i].text = value;
        else if (options[i].number) *options[i].number = atoi(value);
        else *options[i].real = atof(value);
        return;
    }
    errno = EINVAL;
    die(option);
}

int main(int argc, char **argv) {
    if (argc < 2) { fputs("usage: generator message|login|classic|hold key=value ...\n", stderr); return 2; }
    for (int i = 2; i < argc; i++) set_option(argv[i]);
    const char *mode = argv[1];
    int is_message = !strcmp(mode, "message");
    is_login = !strcmp(mode, "login");
    is_classic = !strcmp(mode, "classic");
    if (!node_count || o_users < 2 || o_size > 3000 || o_away >= o_users) { errno = EINVAL; die("options"); }
    checks_messages = is_message || is_classic;
    if (checks_messages) o_full = 1;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    srand(o_seed);
    memset(padding, 'x', o_size);
    session_count = o_users;
    sessions = calloc(session_count, sizeof *sessions);
    dirty = calloc(session_count, sizeof *dirty);
    live = calloc(session_count, sizeof *live);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!sessions || !dirty || !live || epoll_fd < 0) die("start");
    for (int i = 0; i < session_count; i++) {
        struct session *s = &sessions[i];
        s->fd = -1;
        s->user = o_first + i;
        s->peer = is_message ? i ^ 1 : -1;
        int apart = o_cross == 1 || (o_cross == 2 && i / 2 / node_count % 2);   /* 2: every other pair */
        s->node = is_message ? (i / 2 + (apart ? i % 2 : 0)) % node_count : i % node_count;
    }
    if (is_message) run_message();
    else if (is_login) run_login();
    else if (is_classic) run_classic();
    else if (o_report) hold_and_report();
    else run_hold();
    return 0;
}
