import { Body, Controller, Get, HttpCode, Inject, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import { SESSION_COOKIE } from '../edge/credentials.js';
import { CurrentPrincipal } from '../edge/current-scope.js';
import type { Principal } from '../edge/principal.js';
import { LimitedBy } from '../edge/rate-limit.guard.js';
import { Public, Requires } from '../edge/scope.guard.js';
import { ApiRoute } from '../http/api-route.js';
import { assertPassword } from '../tenants/password.js';
import { loginBody, parseSecretBody, passwordBody, refreshBody, tokens, whoAmI } from './auth.schema.js';
import { whoIs } from './identity-rows.js';
import { type Origin, Sessions, type Tokens } from './sessions.js';

/** Logins. Every user may read, so `read` is what the routes of one's own take. */
@Requires('read')
@Controller('api/v1/auth')
export class AuthController {
  constructor(
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(DataSource) private readonly source: DataSource,
  ) {}

  @Public()
  @LimitedBy('login')
  @ApiRoute({
    summary: 'Log in with a password',
    body: loginBody,
    response: tokens,
    status: 200,
    errors: ['UNAUTHENTICATED', 'RATE_LIMITED'],
  })
  @Post('login')
  @HttpCode(200)
  login(@Body() body: unknown, @Req() request: FastifyRequest): Promise<Tokens> {
    const { email, password } = parseSecretBody(loginBody, body);
    return this.sessions.login(email, password, originOf(request));
  }

  @Public()
  @ApiRoute({
    summary: 'Exchange a refresh token for new tokens',
    description: 'It works once; one that comes twice was stolen from one of two, and ends the login.',
    body: refreshBody,
    response: tokens,
    status: 200,
    errors: ['UNAUTHENTICATED', 'RATE_LIMITED'],
  })
  @Post('refresh')
  @HttpCode(200)
  refresh(@Body() body: unknown, @Req() request: FastifyRequest): Promise<Tokens> {
    return this.sessions.refresh(parseSecretBody(refreshBody, body).refresh_token, originOf(request));
  }

  @ApiRoute({ summary: 'End this login', status: 204 })
  @Post('logout')
  @HttpCode(204)
  async logout(
    @CurrentPrincipal() principal: Principal,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    await this.sessions.logout(principal, originOf(request));
    reply.header('set-cookie', sessionCookie('', 0));
  }

  @ApiRoute({ summary: 'Read who this credential is, and what it may', response: whoAmI })
  @Get('me')
  async me(@CurrentPrincipal() principal: Principal) {
    const { kind, scope, permissions, role } = principal;
    return {
      kind,
      ...(await whoIs(this.source, principal)),
      scope: {
        organization_id: scope.organizationId,
        workspace_id: scope.workspaceId,
        tenant_id: scope.tenantId,
      },
      role: role ?? null,
      permissions: [...permissions],
    };
  }

  @ApiRoute({
    summary: 'Change the password of this login',
    description: 'It ends all other logins of the user.',
    body: passwordBody,
    status: 204,
  })
  @Post('password')
  @HttpCode(204)
  async password(
    @CurrentPrincipal() principal: Principal,
    @Body() body: unknown,
    @Req() request: FastifyRequest,
  ): Promise<void> {
    const { current_password, new_password } = parseSecretBody(passwordBody, body);
    assertPassword(new_password, 'new_password');
    await this.sessions.changePassword(principal, current_password, new_password, originOf(request));
  }
}

export function originOf(request: FastifyRequest): Origin {
  return {
    remoteAddress: request.ip,
    userAgent: request.headers['user-agent'],
    correlationId: request.id,
  };
}

/** No script reads it, and no other site's page makes the browser send it. */
export function sessionCookie(token: string, maxAgeSeconds: number): string {
  return `${SESSION_COOKIE}=${token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeSeconds}`;
}
