import { Controller, Get, Inject, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import { Public } from '../edge/scope.guard.js';
import { DEFAULT_SCOPE, type Scope } from '../edge/scope.js';
import { AppError } from '../errors.js';
import { ApiRoute } from '../http/api-route.js';
import { parseQuery, type RawQuery } from '../http/request.schema.js';
import { ACCESS_TOKEN_SECONDS } from './access-token.js';
import { originOf, sessionCookie } from './auth.controller.js';
import { linkQuery } from './auth.schema.js';
import { localAdmin } from './first-start.js';
import { Sessions } from './sessions.js';
import { SignInCodes } from './sign-in.js';

/** The link that is printed at the start: whoever can read what the program prints is its admin. */
@Public()
@Controller('login')
export class SignInController {
  constructor(
    @Inject(SignInCodes) private readonly codes: SignInCodes,
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(DEFAULT_SCOPE) private readonly scope: Scope,
  ) {}

  @ApiRoute({
    summary: 'Open the link that was printed at the start',
    description: 'It works once, for 15 minutes: a browser is logged in by a cookie, and led to /docs.',
    query: linkQuery,
    status: 303,
    errors: ['UNAUTHENTICATED', 'NOT_FOUND'],
  })
  @Get()
  async open(@Query() raw: RawQuery, @Req() request: FastifyRequest, @Res() reply: FastifyReply) {
    const { code } = parseQuery(linkQuery, raw);
    if (!this.codes.redeem(code, Date.now())) {
      throw new AppError(
        'UNAUTHENTICATED',
        'This link has been used, or is older than 15 minutes. The next start prints another.',
      );
    }
    const userId = await localAdmin(this.source, this.scope.organizationId);
    if (userId === undefined)
      throw new AppError('NOT_FOUND', 'The default organization has no owner any more.');
    const token = await this.sessions.openByLink(userId, originOf(request));
    await reply
      .header('set-cookie', sessionCookie(token, ACCESS_TOKEN_SECONDS))
      .header('referrer-policy', 'no-referrer')
      .redirect('/docs', 303);
  }
}
