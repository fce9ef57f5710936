/* The link on a computer: opens a pty, prints its name, and turns motors of simple physics by it.
 *
 * usage: host_main MOTORS
 * Prints `port PATH`, then `mode N` at each change (0 limp, 1 driven, 2 damped). Reads lines: `stop 1`, `stop 0`,
 * `fault MOTOR BITS`; ends with its standard input.
 */
#define _XOPEN_SOURCE 600
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "exo_link.h"

static exo_link board;

static uint32_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

/* 0.01 kg m^2 with a little friction, at most 10 N m. */
static void turn(float seconds)
{
    for (uint8_t i = 0; i < board.count; i++) {
        exo_motor *motor = &board.motors[i];
        const exo_target want = exo_link_target(&board, i);
        const float tau = want.kp * (want.q - motor->q) + want.kd * (want.dq - motor->dq) + want.tau;
        motor->tau = tau > 10.0f ? 10.0f : tau < -10.0f ? -10.0f : tau;
        motor->dq += seconds * (motor->tau - 0.05f * motor->dq) / 0.01f;
        motor->q += seconds * motor->dq;
    }
}

static int open_pty(int *slave)
{
    struct termios raw;
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        return -1;
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* held, so that the port outlives its hosts */
    if (*slave < 0 || tcgetattr(*slave, &raw) != 0)
        return -1;
    raw.c_iflag = raw.c_oflag = raw.c_lflag = 0;
    raw.c_cflag = CS8 | CREAD | CLOCAL;
    raw.c_cc[VMIN] = 1;
    if (tcsetattr(*slave, TCSANOW, &raw) != 0 || fcntl(master, F_SETFL, O_NONBLOCK) != 0)
        return -1;
    return master;
}

static void take_order(const char *line)
{
    unsigned motor, value;
    if (sscanf(line, "stop %u", &value) == 1)
        board.stop = value != 0;
    else if (sscanf(line, "fault %u %u", &motor, &value) == 2 && motor < board.count)
        board.motors[motor].faults = (uint16_t)value;
}

static void pump(int master)
{
    uint8_t in[4096], out[EXO_MOST_FRAME];
    const ssize_t size = read(master, in, sizeof in);
    for (ssize_t at = 0; at < size; at++)
        if (exo_link_feed(&board, in[at], now_us())) {
            const size_t answer = exo_link_answer(&board, now_us(), out);
            if (write(master, out, answer) != (ssize_t)answer)
                fputs("answer lost\n", stderr); /* the host does not read */
        }
}

int main(int count, char **arguments)
{
    const int motors = count == 2 ? atoi(arguments[1]) : 0;
    int slave = -1, mode = -1, master;
    uint32_t before;
    char line[64];
    if (motors < 1 || motors > (int)EXO_MOST_MOTORS) {
        fprintf(stderr, "usage: host_main MOTORS (1 to %u)\n", EXO_MOST_MOTORS);
        return 2;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* poll must see each line */
    exo_link_init(&board, (uint8_t)motors, "exo-host");
    board.battery_percent = NAN;
    board.imu.quat_wxyz[0] = 1.0f;
    board.imu.accel[2] = 9.81f;
    if ((master = open_pty(&slave)) < 0) {
        perror("pty");
        return 1;
    }
    printf("port %s\n", ptsname(master));
    fflush(stdout);
    before = now_us();
    for (;;) {
        struct pollfd watched[2] = {{master, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        uint32_t now;
        poll(watched, 2, 1);
        if (watched[0].revents & POLLIN)
            pump(master);
        if (watched[1].revents & (POLLIN | POLLHUP)) {
            if (fgets(line, sizeof line, stdin) == NULL)
                return 0;
            take_order(line);
        }
        now = now_us();
        if (now - before >= 1000u) {
            exo_link_tick(&board, now);
            turn(1e-6f * (float)(now - before > 5000u ? 5000u : now - before));
            before = now;
        }
        if (mode != board.mode) {
            mode = board.mode;
            printf("mode %d\n", mode);
            fflush(stdout);
        }
    }
}
